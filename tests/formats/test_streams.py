"""Whole files: names that any file system takes."""

from vgeo.formats.streams import file_name


def test_names_of_strangers_stay_in_the_folder() -> None:
    names = [
        "walk 1.mp4",
        "walk (2)",
        "../../etc/x",
        "a/b",
        "a_b",
        ".hidden",
        "Malmö",
        "x" * 300,
        "\N{HIRAGANA LETTER A}" * 85,
        "\ud800",
        "",
    ]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all("/" not in file and not file.startswith(".") and len(file.encode()) < 200 for file in files)
    assert files[:2] == names[:2]
