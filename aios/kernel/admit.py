"""Requests: each is recorded whole, found to be there already, or refused with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from aios.kernel import catalogue, governing, operate
from aios.kernel.again import retry_work
from aios.kernel.concurrency import Pending
from aios.kernel.evolve import Fold
from aios.kernel.ports import (
    Answer,
    ApplyPolicy,
    ApplyTenants,
    Asked,
    Drain,
    PauseTenant,
    PreemptWork,
    PublishVersion,
    ReleaseNode,
    RemoveVersions,
    Reply,
    Request,
    Reserve,
    Resume,
    ResumeTenant,
    Retry,
    StopWork,
    Submit,
    Suspend,
    TagVersion,
    Undrain,
    Unreserve,
)
from aios.kernel.submitting import submit_work


def admit(fold: Fold, now_s: float, asked: Sequence[Asked]) -> tuple[Answer, ...]:
    """Record what is asked, in order, and return the replies."""
    pending = Pending()
    return tuple(Answer(one.id, _reply(fold, now_s, one.request, pending)) for one in asked)


def _reply(fold: Fold, now_s: float, request: Request, pending: Pending) -> Reply:
    match request:
        case Submit():
            return submit_work(fold, now_s, request, pending)
        case StopWork():
            return operate.stop(fold, now_s, request)
        case TagVersion():
            return catalogue.tag(fold, now_s, request)
        case PublishVersion():
            return catalogue.publish(fold, now_s, request)
        case RemoveVersions():
            return catalogue.remove(fold, now_s, request)
        case Retry():
            return retry_work(fold, now_s, request)
        case PreemptWork():
            return operate.preempt(fold, now_s, request)
        case Suspend():
            return operate.suspend(fold, now_s, request)
        case Resume():
            return operate.resume(fold, now_s, request)
        case Drain():
            return operate.drain(fold, now_s, request)
        case Undrain():
            return operate.undrain(fold, now_s, request)
        case ReleaseNode():
            return operate.release(fold, now_s, request)
        case PauseTenant():
            return operate.pause(fold, now_s, request)
        case ResumeTenant():
            return operate.unpause(fold, now_s, request)
        case ApplyTenants():
            return governing.apply_tenants(fold, now_s, request)
        case ApplyPolicy():
            return governing.apply_policy(fold, now_s, request)
        case Reserve():
            return governing.make_reservations(fold, now_s, request)
        case Unreserve():
            return governing.end_reservation(fold, now_s, request)
