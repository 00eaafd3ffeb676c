"""The report of a run: its JSON, and its forms as text, Markdown and HTML."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from report_example import EVIL, case, example, report, target

from pubsubkit_contract.outcome import Outcome, Verdict
from pubsubkit_contract.report import html, markdown
from pubsubkit_contract.report.__main__ import main
from pubsubkit_contract.report.model import GROUPS, from_json, merge, to_json
from pubsubkit_contract.report.summary import summarise
from pubsubkit_contract.report.terminal import matrix
from pubsubkit_contract.report.text import spans, visible


def test_round_trip():
    """What was written is read back, whatever text is in it; the file is plain ASCII."""
    text = to_json(example())
    assert from_json(text) == example()
    assert text.isascii()
    assert text.endswith("}\n")


def test_json_has_the_documented_names():
    """The names in the file are those of the format."""
    found = json.loads(to_json(example()))
    assert list(found) == ["format", "suite", "time", "python", "platform", "targets"]
    assert found["format"] == 1
    assert found["suite"] == {"version": "0.1.0", "contract": "1.0"}
    target_names = "name harness address backend broker seed declared withheld proved unproved verdict summary cases"
    assert " ".join(found["targets"][1]) == target_names
    assert " ".join(found["targets"][1]["cases"][0]) == "id rule why level since needs outcome seconds reason evidence"


def test_a_later_reader_may_know_more():
    """Names that are not known are ignored; a whole number of seconds is a number."""
    found = json.loads(to_json(example()))
    found["colour"] = found["targets"][0]["colour"] = "green"
    found["targets"][0]["cases"][0]["seconds"] = 3
    read = from_json(json.dumps(found))
    assert read.targets[0].cases[0].seconds == 3.0
    assert read.targets[1] == example().targets[1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "recursion"),
        ("[]", "it is not an object"),
        ("{}", "format is missing"),
        ('{"format": 2}', "its format is 2, not 1"),
        ('{"format": 1}', "suite is missing"),
        (to_json(example()).replace('"not conformant"', '"fine"'), "targets[1].verdict is 'fine', not one of"),
        (to_json(example()).replace("12345", '"x"'), "targets[0].seed is not a whole number"),
        (to_json(example()).replace("12345", "true"), "targets[0].seed is not a whole number"),
        (to_json(example()).replace("0.1,", "NaN,", 1), "targets[0].cases[0].seconds is not a number"),
        (to_json(example()).replace('"acked"', "7", 1), "targets[0].cases[0].evidence[1] is not text"),
    ],
)
def test_no_report(text, problem):
    """Anything else is one ValueError, which says where it differs."""
    with pytest.raises(ValueError, match=r"^not a pubsubkit report: ") as caught:
        from_json(text)
    assert problem in str(caught.value)


def test_merge():
    """The targets of all reports; of one name and harness the later; what differs is listed."""
    memory, nats = example().targets
    again, other = replace(memory, seed=7), replace(nats, harness="mine:Harness")
    first = report(memory, nats, other)
    second = report(again, time="2026-11-26T00:00:00Z", python="3.14.0")
    merged = merge(iter([first, second]))
    assert merged.targets == (again, nats, other)
    assert (merged.time, merged.python, merged.platform) == ("2026-11-26T00:00:00Z", "3.11.7, 3.14.0", "Linux")
    assert merge([first]) == first


def test_merge_refuses():
    """Nothing, and results of different contracts, cannot be merged."""
    other = replace(example(), suite=replace(example().suite, contract="1.1"))
    with pytest.raises(ValueError, match=r"contract 1\.0 and 1\.1"):
        merge([example(), other])
    with pytest.raises(ValueError, match="no report"):
        merge([])


def test_summaries():
    """The line says what was found and counts the cases."""
    memory, nats = example().targets
    assert summarise(memory) == "memory is conformant: because (42 passed in 4.2 s)"
    assert summarise(memory, times=False) == "memory is conformant: because (42 passed)"
    assert summarise(nats).endswith("because (37 passed, 1 failed, 1 deviated, 2 not applicable, 1 not run in 4.2 s)")
    assert summarise(target("x", Verdict.PARTIAL, []), times=False).endswith("(no case)")


def test_terminal():
    """The table is aligned, has only columns that occur, shows no zeros, and ends in the verdict."""
    lines = matrix(example().targets[1]).splitlines()
    assert lines[0].split() == ["group", "pass", "fail", "deviation", "n/a", "not", "run"]
    assert lines[4].split() == ["Acknowledgement", "1", "1", ".", ".", "."]
    assert lines[22].split() == ["total", "37", "1", "1", "2", "1"]
    assert len({len(line) for line in lines[:23]}) == 1
    assert lines[24:27] == ["proved    ack_wait, nak", "withheld  headers", "unproved  nak"]
    assert lines[-1] == summarise(example().targets[1])
    only = matrix(example().targets[0]).splitlines()
    assert only[0].split() == ["group", "pass"]
    assert only[-1] == summarise(example().targets[0])


def test_terminal_colours():
    """Colours add escape sequences and nothing else."""
    shown = example().targets[1]
    assert re.sub(r"\x1b\[\d+m", "", matrix(shown, colour=True)) == matrix(shown)
    assert matrix(replace(shown, summary="\x1b[2J\r")).splitlines()[-1].startswith(r"\x1b[2J\r (37 passed")


def test_markdown():
    """Counts by group and target, then the capabilities, the versions and every case."""
    text = markdown.render(example())
    assert "| Acknowledgement | 2 ✓ | 1 ✓ 1 ✗ |" in text
    assert "| Negative acknowledgement | 2 ✓ | n/a |" in text
    assert "| `ack_wait` | ✓ proved | ✓ proved |" in text
    assert "| `headers` | - withheld | - withheld |" in text
    for outcome in ("✓ | ✗", "✓ | ≠", "✓ | n/a", "✓ | ?"):
        assert outcome in text
    assert "* **conformant**: memory is conformant: because (42 passed)." in text
    assert "* `rst.first` on nats ?: the harness has no restart knob" in text


def test_markdown_is_the_same_for_the_same_results():
    """Neither dates nor durations nor seeds are in it, unless asked for."""
    memory, nats = example().targets
    slow = replace(memory, seed=1, cases=tuple(replace(one, seconds=9.0) for one in memory.cases))
    later = replace(report(slow, nats), time="2027-01-01T00:00:00Z")
    assert markdown.render(later) == markdown.render(example())
    assert markdown.render(later, times=True) != markdown.render(example(), times=True)
    assert "2027-01-01" in markdown.render(later, times=True)


def test_markdown_escapes():
    """Every row of a table has the cells of its heading, and no markup comes from a report."""
    nasty = case("ack.x", Outcome.FAIL, EVIL, rule=f"With `a|b` and *stars* {EVIL}", needs=(EVIL,))
    text = markdown.render(report(target("<b>|x", Verdict.NOT_CONFORMANT, [nasty])))
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
    assert not re.search(r"(?<!\\)<", text)
    assert r"`a\|b` and \*stars\*" in text


class Elements(HTMLParser):
    """The elements of a page and its text, with a check that they close in order."""

    VOID = ("meta", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.ids = [], [], []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_html_is_well_formed_and_needs_nothing_else():
    """Elements are nested, ids are unique, and nothing is loaded from elsewhere."""
    text = html.render(example())
    page = Elements(text)
    assert len(page.ids) == len(set(page.ids))
    assert page.names.count("script") == 1
    assert "link" not in page.names
    assert "url(" not in text
    assert "http" not in text.replace("https://example", "")


def test_html_shows_everything():
    """Verdicts, every case with its rule, reason, evidence and needs, every outcome, and titles of groups."""
    text = html.render(example())
    page = Elements(text).text
    for shown in example().targets:
        assert summarise(shown) in page
        for one in shown.cases:
            assert one.id in page
            assert one.reason.replace("\udcff", r"\udcff") in page
    assert all(f'<td class="t1 {outcome}"><details>' in text for outcome in Outcome)
    assert "needs nak_delay" not in page
    assert 'scope="rowgroup"' in text
    assert page.count("received b'acked' (delivery 1, sequence 1)") == 82
    assert all(title in page for title in list(GROUPS.values())[:21])


def test_html_escapes():
    """Text of a report is never markup, wherever it stands."""
    nasty = case("ack.<x>", Outcome.FAIL, EVIL, rule=EVIL, why=EVIL, needs=(EVIL,), evidence=(EVIL,), since=EVIL)
    evil = {"harness": EVIL, "address": EVIL, "broker": EVIL, "summary": EVIL, "declared": (EVIL,), "unproved": (EVIL,)}
    page = Elements(
        html.render(report(target(EVIL, Verdict.NOT_CONFORMANT, [nasty], **evil), time=EVIL, platform=EVIL))
    )
    assert page.names.count("script") == 1
    assert page.text.count("<script>alert('evidence')</script>") > 10


def test_forms_are_deterministic():
    """The same report gives the same text."""
    for render in (html.render, markdown.render, to_json):
        assert render(example()) == render(from_json(to_json(example())))


def test_an_empty_report():
    """A target without cases, and a report without targets, have all forms."""
    for shown in (report(), report(target("x", Verdict.PARTIAL, []))):
        assert Elements(html.render(shown))
        assert markdown.render(shown)
        assert all(matrix(one) for one in shown.targets)


def test_unknown_groups_come_last():
    """A group without a title is shown under its name, after the others."""
    shown = target("x", Verdict.CONFORMANT, [case("zeta.a"), case("hook.a"), case("core.a")])
    assert re.findall(r"^(\w+).* 1$", matrix(shown), re.MULTILINE) == ["Core", "Hooks", "zeta"]


def test_text_is_made_visible():
    """Control characters become escapes; code is what is between back-ticks."""
    assert visible("a\x1b[0m\x00\u202e\udcff\n\t") == "a\\x1b[0m\\x00\\u202e\\udcff\n\t"
    assert spans("use ``ack()`` or `nak`") == [("use ", False), ("ack()", True), (" or ", False), ("nak", True)]


@pytest.fixture
def files(tmp_path):
    """Two reports as files."""
    memory, nats = example().targets
    paths = []
    for shown in (memory, nats):
        paths.append(tmp_path / f"{shown.name}.json")
        paths[-1].write_text(to_json(report(shown)))
    return [str(path) for path in paths]


def test_command_writes_every_form(files, tmp_path):
    """The files are merged and written in each form that is asked for."""
    page, text, merged = (str(tmp_path / name) for name in ("page.html", "page.md", "all.json"))
    assert main([*files, "--html", page, "--markdown", text, "--json", merged]) == 0
    assert from_json((tmp_path / "all.json").read_text()) == example()
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == markdown.render(example())
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == html.render(example())


def test_command_prints(files, capfdbinary):
    """A file - is the standard output; without an option the results are printed as text."""
    assert main([*files, "--json", "-"]) == 0
    assert from_json(capfdbinary.readouterr().out.decode()) == example()
    assert main(files) == 0
    printed = capfdbinary.readouterr().out.decode()
    assert printed.count("total") == 2
    assert example().targets[1].summary in printed


def test_command_fails_in_a_line(files, tmp_path, capsys):
    """A file that is missing, is no text or no report is told in one line, with exit code 2."""
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name in ("bad.json", "binary.json", "missing.json", "."):
        assert main([*files, str(tmp_path / name)]) == 2
        told = capsys.readouterr().err
        assert told.startswith("pubsubkit_contract.report: ")
        assert told.count("\n") == 1
        assert str(tmp_path) in told
    assert main([*files, "--html", str(tmp_path / "no" / "where.html")]) == 2
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
