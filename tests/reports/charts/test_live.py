"""The script of live charts, and what it is kept in."""

import pytest

from tts.reports.charts import live as livecharts

vl_convert = pytest.importorskip("vl_convert", reason="needs the extra `report`")


@pytest.fixture
def bundled(monkeypatch, tmp_path, drawing):
    """Versions that were bundled, one entry each time; the cache is a folder of this test's."""
    versions = []

    def bundle(snippet, version):
        versions.append(version)
        return f"{snippet} let text = '</script>';"

    monkeypatch.setenv("TTS_CACHE", str(tmp_path / "cache"))
    with drawing():
        monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
        yield versions
        livecharts.embed_script.cache_clear()


def in_a_new_process(version="6.1"):
    livecharts.embed_script.cache_clear()
    return livecharts.embed_script(version)


def test_the_script_is_bundled_once_for_all_processes_and_is_the_same_in_each(bundled):
    first = in_a_new_process()
    assert "vegaEmbed" in first
    assert "</script" not in first
    assert in_a_new_process() == first
    assert bundled == ["6.1"]


def test_another_version_has_a_script_of_its_own(bundled):
    in_a_new_process("6.1")
    in_a_new_process("5.21")
    in_a_new_process("6.1")
    assert bundled == ["6.1", "5.21"]


@pytest.mark.parametrize("left", [b"", b"window.vegaEmbed = veg", b"\xff\xfe"])
def test_what_is_left_of_a_file_is_never_used(bundled, tmp_path, left):
    whole = in_a_new_process()
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(left)
    assert in_a_new_process() == whole
    assert in_a_new_process() == whole
    assert bundled == ["6.1"] * 2


def test_without_a_place_to_keep_it_the_script_is_bundled_once_a_process(bundled, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TTS_CACHE", str(tmp_path / "file" / "cache"))
    assert livecharts.embed_script("6.1") == livecharts.embed_script("6.1") != ""
    assert bundled == ["6.1"]
