"""Files are replaced whole or not at all, and nothing beside them is touched."""

import os

import pytest

from harness.files import replace_file, replace_link, replacing


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    file = tmp_path / "page"
    file.write_text("old")
    with replacing(file) as stream:
        stream.write(b"ne")
        stream.flush()
        assert file.read_text() == "old"
        stream.write(b"w")
    assert file.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["page"]


def test_what_fails_leaves_the_old_file_alone(tmp_path):
    file = tmp_path / "page"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(file) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["page"]


def test_links_in_the_way_are_replaced_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("page", "page.part", ".page.new"):
        (tmp_path / name).symlink_to(precious)
    replace_file(tmp_path / "page", "new", durable=True)
    assert precious.read_text() == "mine"
    assert not (tmp_path / "page").is_symlink()
    assert (tmp_path / "page.part").is_symlink()


def test_an_error_names_the_file_that_was_meant(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        replace_file(tmp_path / "missing" / "page", "new")
    assert caught.value.filename == str(tmp_path / "missing" / "page")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        replace_file(tmp_path / "folder", "new")
    assert caught.value.filename == str(tmp_path / "folder")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_the_users_umask_holds(tmp_path):
    before = os.umask(0o027)
    try:
        replace_file(tmp_path / "page", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "page").stat().st_mode & 0o777 == 0o640


def test_a_link_is_moved_in_one_step(tmp_path):
    for run in ("one", "two"):
        replace_link(tmp_path / "latest", run)
        assert str((tmp_path / "latest").readlink()) == run
