import os
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.core.documents import Document
from rag.core.errors import InputError
from rag.text import FoundFile, Skipped, find_files, read_documents


def tree(root, **files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def ids(paths, **options):
    return [f.document_id for f in find_files(paths, **options) if isinstance(f, FoundFile)]


def test_documents_and_reasons_in_sorted_order(tmp_path):
    root = tmp_path / "docs"
    tree(
        root,
        **{
            "b.txt": "Bee",
            "a/z.md": "# Zed",
            "a/broken.pdf": b"%PDF-nothing",
            "a/empty.txt": "",
            "c.png": b"\x89PNG",
            "d.txt": b"\x00\x01",
            ".hidden/x.txt": "no",
            ".git/config.txt": "no",
        },
    )
    items = list(read_documents([root]))
    assert [i.id for i in items if isinstance(i, Document)] == ["docs/a/z.md", "docs/b.txt"]
    skipped = {
        i.path.relative_to(root).as_posix(): i.reason for i in items if isinstance(i, Skipped)
    }
    assert list(skipped) == ["a/broken.pdf", "a/empty.txt", "c.png", "d.txt"]
    assert skipped["a/empty.txt"] == "no text in it"
    assert skipped["c.png"] == "unknown format '.png'; include it to read as text"
    assert "binary" in skipped["d.txt"]


def test_ids_do_not_depend_on_how_the_folder_is_named(tmp_path, monkeypatch):
    tree(tmp_path / "docs", **{"a.txt": "A"})
    monkeypatch.chdir(tmp_path / "docs")
    assert ids(["."]) == ids([tmp_path / "docs"]) == ids(["../docs/"]) == ["docs/a.txt"]
    assert ids(["a.txt"]) == ["a.txt"]


def test_include_and_exclude(tmp_path):
    root = tmp_path / "d"
    tree(root, **{"a.txt": "A", "b.md": "B", "old/c.md": "C", "s.py": "S", "LICENSE": "L"})
    assert ids([root]) == ["d/LICENSE", "d/a.txt", "d/b.md", "d/old/c.md"]
    assert ids([root], include=["*.md", "*.py"]) == ["d/b.md", "d/old/c.md", "d/s.py"]
    assert ids([root], exclude=["old/", "*.txt"]) == ["d/LICENSE", "d/b.md"]
    assert ids([root / "a.txt"], exclude=["*.txt"]) == ["a.txt"]
    (document,) = read_documents([root], include=["*.py"])
    assert document.text == "S"


def test_mistakes_are_found_before_reading(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_documents([tmp_path, tmp_path / "none"])
    with pytest.raises(InputError, match="malformed pattern"):
        find_files([tmp_path], exclude=["!"])


def test_links_to_folders_are_not_followed(tmp_path):
    root = tmp_path / "d"
    tree(root, **{"a.txt": "A"})
    (root / "loop").symlink_to(root)
    (root / "to_file.txt").symlink_to(root / "a.txt")
    (root / "gone.txt").symlink_to(root / "none")
    items = list(read_documents([root]))
    assert [i.id for i in items if isinstance(i, Document)] == ["d/a.txt", "d/to_file.txt"]
    assert [i.path.name for i in items if isinstance(i, Skipped)] == ["gone.txt", "loop"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_must_not_be_read_is_skipped(tmp_path):
    tree(tmp_path, **{"a.txt": "A", "sub/b.txt": "B"})
    (tmp_path / "a.txt").chmod(0)
    (tmp_path / "sub").chmod(0)
    assert {i.path.name for i in read_documents([tmp_path])} == {"a.txt", "sub"}
    (tmp_path / "sub").chmod(0o700)


def test_one_id_comes_once(tmp_path):
    tree(tmp_path, **{"x/docs/a.txt": "A", "y/docs/a.txt": "B"})
    first, second = read_documents([tmp_path / "x" / "docs", tmp_path / "y" / "docs"])
    assert first.text == "A"
    assert second == Skipped(tmp_path / "y/docs/a.txt", "another document has the id 'docs/a.txt'")


NAMES = st.sampled_from(["a", "b", "build", "x.log", "y.txt"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
PATTERNS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "", "!"]),
        st.sampled_from(["", "/", "**/"]),
        st.sampled_from(["a", "b", "build", "*", "*.log", "a/b", "a/*", "a/**", "a/**/b", "**"]),
        st.sampled_from(["", "/"]),
    ),
).filter(lambda pattern: not pattern.endswith("**/"))  # pathspec takes 'a/**/' for 'a/**'


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git to compare with")
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    st.lists(PATHS, min_size=1, max_size=8),
    st.dictionaries(
        st.sampled_from(["", "a/", "a/b/", "build/"]), st.lists(PATTERNS, max_size=4), max_size=3
    ),
)
def test_gitignore_files_mean_what_they_mean_to_git(tmp_path_factory, paths, ignores):
    root = tmp_path_factory.mktemp("repo")
    for name in paths:
        if not any((root / name).is_relative_to(p) for p in root.rglob("*") if p.is_file()):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if not (root / name).exists():
                (root / name).write_text("x")
    for folder, patterns in ignores.items():
        if (root / folder).is_dir():
            (root / folder / ".gitignore").write_text("\n".join(patterns))
    subprocess.run(["git", "init", "-q", root], check=True)
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-o", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    )
    expected = {name for name in listed.stdout.splitlines() if not name.endswith(".gitignore")}
    found = ids([root], include=["*"])
    assert {name.removeprefix(f"{root.name}/") for name in found} == expected
