"""What a result says of itself: its commit, and the name of its files."""

import subprocess

import pytest
from muattn_tools import provenance


@pytest.fixture
def repository(tmp_path, monkeypatch):
    def git(*arguments):
        done = subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet")
    results = tmp_path / "bench/results"
    results.mkdir(parents=True)
    for file in tmp_path / "kernel.h", results / "a.json":
        file.write_text("1")
    git("add", ".")
    git("commit", "--quiet", "--message", "a")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return tmp_path, git("rev-parse", "--short", "HEAD")


def test_results_of_the_run_before_are_no_change(repository):
    folder, commit = repository
    assert provenance.commit() == commit
    for file in "a.json", "b.json":
        (folder / "bench/results" / file).write_text("2")
    assert provenance.commit() == commit


def test_changed_sources_are(repository):
    folder, commit = repository
    (folder / "kernel.h").write_text("2")
    assert provenance.commit() == f"{commit}-dirty"


def test_a_part_does_not_replace_the_whole():
    results = {"date": "2026-01-02", "device": "Some(R) CPU", "backend": "avx2"}
    assert provenance.file_stem(results) == "2026-01-02-Some-CPU-avx2"
    assert provenance.file_stem(results, "spatial/mup") == "2026-01-02-Some-CPU-avx2-spatial-mup"
