from pathlib import Path

from rag.core.progress import silent
from rag.indexes import Collection
from rag.indexes.sources import Source
from rag.testing import HashEmbedder


def test_what_is_gone_is_below_the_paths(tmp_path: Path) -> None:
    folder, other = tmp_path / "a b", tmp_path / "other"
    for each in (folder, other):
        each.mkdir()
        (each / "kept.txt").write_text("Terns dive.")
        (each / "gone ü.txt").write_text("Gulls shout.")
    (folder / "broken.pdf").write_text("none")
    (folder / "image.png").write_text("none")
    source = Source([folder])
    with Collection.create(tmp_path / "collection", HashEmbedder()) as collection:
        collection.add(source.documents(silent))
        collection.add(Source([other]).documents(silent))
        assert source.failed
        assert [each.path.name for each in source.skipped] == ["broken.pdf", "image.png"]
        assert source.gone(collection) == []
        (folder / "gone ü.txt").unlink()
        (other / "gone ü.txt").unlink()
        assert source.gone(collection) == ["a b/gone ü.txt"]
