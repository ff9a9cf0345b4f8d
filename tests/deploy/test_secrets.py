"""No deployment file holds a secret or floats on a tag that moves, and the guide names them all."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

FILES = (
    "ray-cluster.yaml",
    "deploy/README.md",
    "deploy/docker/Dockerfile",
    "deploy/docker/aios-node",
    "deploy/k8s/raycluster.yaml",
)
SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|\b[0-9a-f]{32,}\b|(?i:password|secret_key|api_key)\s*[:=]\s*\S"
    r"|RAY_AUTH_TOKEN=[^$\s]"
)


@pytest.mark.parametrize("name", FILES)
def test_no_file_holds_a_secret(name: str, root: Path) -> None:
    assert SECRET.search((root / name).read_text()) is None


@pytest.mark.parametrize("name", FILES)
def test_no_image_floats_on_latest(name: str, root: Path) -> None:
    assert not re.search(r":latest\b|:nightly\b", (root / name).read_text())


def test_the_pattern_would_find_a_secret() -> None:
    assert SECRET.search("RAY_AUTH_TOKEN=abc")
    assert SECRET.search("token: " + "0123456789abcdef" * 2)
    assert not SECRET.search('RAY_AUTH_TOKEN="${RAY_AUTH_TOKEN:-}"'.replace('="', "=$"))


def test_the_guide_names_every_file_and_the_versions_that_hold(
    root: Path, locked: Callable[[str], str], image_tag: str
) -> None:
    guide = (root / "deploy/README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", guide):
        assert (root / "deploy" / link).exists(), link
    assert set(re.findall(r"ray\[default\]==(\S+?)'", guide)) == {locked("ray")}
    assert set(re.findall(r"aios:(\d[\w.]*)", guide)) == {image_tag}
