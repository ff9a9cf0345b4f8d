"""The control plane's shell: step, record, act, wait."""
