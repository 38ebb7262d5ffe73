"""sqb_tf.line_file: the lines that were written are the lines that are read."""

import pytest

from sqb_tf.errors import InputError
from sqb_tf.line_file import join_lines, read_lines, split_lines, write_lines


@pytest.mark.parametrize("lines", [[], [""], ["a", ""], ["[PAD]", "a\u2028b", " "]])
def test_lines_are_read_as_written(lines, tmp_path):
    assert split_lines(join_lines(lines)) == lines
    write_lines(tmp_path / "labels.txt", lines)
    assert read_lines(tmp_path / "labels.txt", "label names") == lines


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone: cannot be read as label names: No such file"):
        read_lines(tmp_path / "gone", "label names")
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match=r"latin: cannot be read as a vocabulary: 'utf-8' codec"):
        read_lines(tmp_path / "latin", "a vocabulary")
