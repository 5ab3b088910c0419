"""Pages made from the files of run folders."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tenfold.errors import TenfoldError, UsageError
from tenfold.reports import write_joint_report, write_report
from tenfold.runs.measurement import Measurement

_VOID = {"meta", "img", "br", "link", "hr", "input"}


class Checker(HTMLParser):
    """Collects tags and their attributes, and fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text.append(data)


def parsed(page) -> Checker:
    checker = Checker()
    checker.feed(page.read_text(encoding="utf-8"))
    assert checker.open == []
    return checker


def make_run(folder, name="tarflow-digits", rows=None):
    (folder / "figures").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"recipe: {name}\nsystem: tarflow\nnote: <b>bold</b>\n")
    lines = [{"step": i, "kind": "train", "loss": 3.0 / i, "seconds": float(i)} for i in range(1, 30)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 30, "lo')
    rows = rows or [
        Measurement("bits_per_dim", 2.1321, "bits/dim", "test", name, 0.0021, 16),
        Measurement("bits_per_dim", 2.4212, "bits/dim", "test", "histogram"),
    ]
    (folder / "evaluation.json").write_text(json.dumps({"metrics": [row.to_dict() for row in rows]}))
    (folder / "provenance.json").write_text(
        json.dumps({"command": ["tenfold", "train"], "versions": {"tenfold": "1.2"}})
    )
    for shade, file in ((1, "b.png"), (2, "a.png"), (3, "extra.png")):
        Image.fromarray(np.full((4, 4), shade, np.uint8)).save(folder / "figures" / file)
    (folder / "figures" / "captions.json").write_text(json.dumps({"b.png": "Samples <i>&", "a.png": "Maps"}))
    return folder


def pictures(page) -> list[bytes]:
    sources = [attributes["src"] for tag, attributes in parsed(page).found if tag == "img"]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    return [base64.b64decode(source.split(",", 1)[1]) for source in sources]


def test_report_is_self_contained_and_holds_everything(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    page = write_report(run)
    assert page == run / "report.html"
    checker = parsed(page)
    assert not {tag for tag, _ in checker.found} & {"script", "link", "iframe", "object"}
    links = [a.get("href", a.get("src", "")) for _, a in checker.found]
    assert all(link == "" or link.startswith(("#", "data:")) for link in links)
    raw = page.read_text()
    assert not re.search(r"url\(|@import|https?:", raw)
    text = " ".join(checker.text)
    for part in (
        "tarflow-digits",
        "2.1321",
        "0.0021",
        "histogram",
        "2.421",
        "29 steps",
        "29 s of training",
        "16 draws",
    ):
        assert part in text
    assert "tenfold train" in text


def test_pictures_come_in_the_order_of_the_captions_then_curves(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    page = write_report(run)
    names = ("b.png", "a.png", "extra.png", "training-curves.png")
    assert pictures(page) == [(run / "figures" / name).read_bytes() for name in names]


def test_everything_from_files_is_escaped(tmp_path) -> None:
    evil = "<script>alert(1)</script>"
    rows = [
        Measurement(evil, 1.0, evil, evil, evil, note=evil),
        Measurement(evil, 2.0, evil, evil, "other", note=evil),
    ]
    run = make_run(tmp_path / "run", name="x", rows=rows)
    (run / "config.yaml").write_text(f"recipe: '{evil}'\n")
    (run / "provenance.json").write_text(json.dumps({evil: evil}))
    (run / "figures" / "captions.json").write_text(json.dumps({"a.png": f'"{evil}'}))
    page = write_report(run)
    assert "<script" not in page.read_text()
    assert not {tag for tag, _ in parsed(page).found} & {"script", "b2", "i2"}
    assert evil in " ".join(parsed(page).text)


def test_joint_report_has_common_tables_and_a_section_for_each_run(tmp_path) -> None:
    shared = Measurement("bits_per_dim", 2.4212, "bits/dim", "test", "histogram")
    runs = [
        make_run(tmp_path / name, name, [Measurement("bits_per_dim", value, "bits/dim", "test", name), shared])
        for name, value in (("first", 2.15), ("second", 2.2))
    ]
    page = write_joint_report(runs, tmp_path / "out" / "both.html", "Two & more")
    checker = parsed(page)
    text = " ".join(checker.text)
    assert "Two & more" in text
    ids = {attributes["id"] for _, attributes in checker.found if "id" in attributes}
    targets = {a["href"][1:] for tag, a in checker.found if tag == "a"}
    assert targets == ids == {"results", "run-0", "run-1"}
    table = page.read_text().split('id="results"')[1].split("</section>")[0]
    assert table.count(">histogram<") == 1  # the same baseline twice is one row
    assert len(pictures(page)) == 8


def test_texts_among_the_figures(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "figures" / "poem.txt").write_text("<b>bold</b>\n  indented & kept\n")
    (run / "figures" / "captions.json").write_text(json.dumps({"poem.txt": "A poem"}))
    page = write_report(run).read_text()
    assert "<pre>&lt;b&gt;bold&lt;/b&gt;\n  indented &amp; kept\n</pre><figcaption>A poem</figcaption>" in page
    assert page.index("A poem") < page.index("<img")


@pytest.mark.parametrize("missing", ["config.yaml", "metrics.jsonl", "evaluation.json", "provenance.json", "figures"])
def test_any_file_may_be_missing(tmp_path, missing: str) -> None:
    run = make_run(tmp_path / "run")
    if missing == "figures":
        for path in (run / "figures").iterdir():
            path.unlink()
        (run / "figures").rmdir()
    else:
        (run / missing).unlink()
    parsed(write_report(run))


def test_nothing_is_left_of_a_folder_without_a_run(tmp_path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match="holds no run"):
            write_report(folder)
    with pytest.raises(UsageError, match="at least one run"):
        write_joint_report([], tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []


def test_damaged_evaluation_is_one_sentence_and_keeps_the_old_page(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    before = write_report(run).read_bytes()
    (run / "evaluation.json").write_text('{"metrics": [{"nam')
    with pytest.raises(TenfoldError, match=r"evaluation\.json is not a list of measurements"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before


def test_reports_import_no_torch(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        f"from tenfold.reports import write_report; print(write_report({str(run)!r}))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (run / "report.html").exists()


def test_only_pictures_wider_than_high_span_the_page(tmp_path) -> None:
    run = make_run(tmp_path / "run")
    for name, size in (("a.png", (1100, 400)), ("b.png", (1100, 1100))):
        Image.new("L", size).save(run / "figures" / name)
    figures = [attributes for tag, attributes in parsed(write_report(run)).found if tag == "figure"]
    assert [figure.get("class") for figure in figures] == [None, "wide", None, None]
