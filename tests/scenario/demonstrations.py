"""Demonstrations as a newcomer runs them: the command, its home, its images, and what may be left of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sonata._lib.paths import data_home
from sonata.adapters.images_local import LocalImages
from sonata.formats.recipe import read_recipe
from sonata.sdk.demonstration import image_recipes


def image_store(*examples: str) -> Path:
    """The user's own image store, with the images of these examples in it."""
    folder = data_home() / "images"
    store = LocalImages(folder)
    for example in examples:
        for recipe in image_recipes(example):
            store.build(read_recipe(recipe), lambda message: None)
    return folder


def own_home(folder: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this folder a home of its own that shares an image store."""
    (folder / "share").mkdir(parents=True)
    (folder / "share" / "images").symlink_to(images)
    monkeypatch.setenv("SONATA_HOME", str(folder))
    return folder


def sonata(*arguments: str) -> str:
    """Run `sonata`, which must succeed; what it prints."""
    command = [sys.executable, "-m", "sonata", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def our_processes(home: Path) -> list[int]:
    """Processes that were started with this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SONATA_HOME") == str(home) and process.pid != os.getpid():
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
