"""The commit that a result names."""

import subprocess

import pytest
from muattn_tools import provenance


@pytest.fixture
def repository(tmp_path, monkeypatch):
    def git(*arguments):
        done = subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet")
    for file in "kernel.h", "bench/results/a.json":
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("1")
    git("add", ".")
    git("commit", "--quiet", "--message", "a")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return tmp_path, git("rev-parse", "--short", "HEAD")


def test_results_of_the_run_before_are_no_change(repository):
    folder, commit = repository
    assert provenance.commit() == commit
    (folder / "bench/results/a.json").write_text("2")
    (folder / "bench/results/b.json").write_text("2")
    assert provenance.commit() == commit


def test_changed_sources_are(repository):
    folder, commit = repository
    (folder / "kernel.h").write_text("2")
    assert provenance.commit() == f"{commit}-dirty"
