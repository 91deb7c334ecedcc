"""Moving between network namespaces leaves the thread where it was."""

from __future__ import annotations

import os
import resource
import threading

import pytest

from sonata._lib import namespaces
from sonata._lib.descriptors import raise_limit


def where() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def identity(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")


@pytest.fixture
def fresh() -> int:
    try:
        (descriptor,) = namespaces.create(1, lambda each: each)
    except PermissionError:
        pytest.skip("may not create network namespaces here")
    yield descriptor
    os.close(descriptor)


@pytest.mark.root
def test_new_namespaces_are_new_and_the_thread_is_home_again(fresh: int) -> None:
    assert identity(fresh) != where()


@pytest.mark.root
def test_a_block_runs_inside_and_an_error_brings_the_thread_home(fresh: int) -> None:
    home = where()
    with namespaces.inside(fresh):
        assert where() == identity(fresh)
    with pytest.raises(KeyError), namespaces.inside(fresh):
        raise KeyError
    assert where() == home


@pytest.mark.root
def test_other_threads_stay_where_they_are(fresh: int) -> None:
    results = []
    stop, ready = threading.Event(), threading.Event()

    def stay() -> None:
        ready.set()
        stop.wait(5)
        results.append(where())

    home = where()
    thread = threading.Thread(target=stay)
    thread.start()
    ready.wait(5)
    with namespaces.inside(fresh):
        stop.set()
        thread.join()
    assert results == [home]


@pytest.mark.root
def test_an_error_while_settling_brings_the_thread_home() -> None:
    home = where()

    def refuse(descriptor: int) -> None:
        os.close(descriptor)
        raise ZeroDivisionError

    with pytest.raises((ZeroDivisionError, PermissionError)):
        namespaces.create(1, refuse)
    assert where() == home


def test_a_wrong_descriptor_is_an_error() -> None:
    with open(os.devnull) as not_a_namespace, pytest.raises(OSError, match="setns"):
        namespaces.enter(not_a_namespace.fileno())


def test_the_descriptor_limit_is_raised_to_what_is_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
        assert raise_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
