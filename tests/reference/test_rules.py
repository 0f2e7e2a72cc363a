"""RULES.csv: what is a rule, what is refused and why, and how a change reads."""

import pytest

from upswell.reference.application import directory_name
from upswell.reference.rules import REASONS, Rule, describe_change, parse_rules

REFUSED = {
    "csv": b'1,"Twit"ter,8,20,147\n',
    "utf8": b"1,Tw\xfftter,8,20,147\n",
    "columns": b"1,Twitter,8,20\n",
    "service": b"one1,Twitter,8,20,147\n",
    "application": b"1,,8,20,147\n",
    "start": b"1,Twitter,24,20,147\n",
    "end": b"1,Twitter,8,24:01,147\n",
    "empty_window": b"1,Twitter,8,8:00,147\n",
    "threshold": b"1,Twitter,8,20,-147\n",
    "service_name": b"1,Twitter,8,9,147\n1,Chirper,10,11,147\n",
    "overlap": b"1,Twitter,22,6,147\n1,Twitter,5,7,147\n",
    "name_twin": b"1,Twitter,8,20,147\n2,TWITTER,8,20,147\n",
}


def parse(text: bytes) -> tuple[tuple[Rule, ...], list[tuple[int, str]]]:
    """The rules of one file, and the line and reason of each problem."""
    ruleset = parse_rules([("RULES.csv", text)])
    return ruleset.rules, [(problem.line, problem.reason) for problem in ruleset.problems]


def test_the_briefs_rules_are_read() -> None:
    """The sample of the brief gives three rules with their windows in minutes."""
    rules, problems = parse(b"1,Twitter,8,20,147\n2,WhatsApp,9,18,68\n3,Youtube,10,20,99\n")

    assert [] == problems
    assert rules == (
        Rule(1, "Twitter", 480, 1200, 147),
        Rule(2, "WhatsApp", 540, 1080, 68),
        Rule(3, "Youtube", 600, 1200, 99),
    )


def test_every_reason_has_an_example() -> None:
    """No reason is in the list without a line that has it."""
    assert REASONS.keys() == REFUSED.keys()


@pytest.mark.parametrize("reason", REFUSED)
def test_a_bad_line_is_refused_with_its_reason(reason: str) -> None:
    """The last line of each example is refused, for that reason and with that line's number."""
    text = REFUSED[reason]

    assert parse(text)[1] == [(text.count(b"\n"), reason)]


def test_a_refused_line_does_not_take_its_neighbours_along() -> None:
    """Good lines before and after a bad one stay rules."""
    rules, problems = parse(b"1,A,8,20,1\nnonsense\n2,B,8,20,2\n")

    assert [(2, "columns")] == problems
    assert [1, 2] == [rule.service for rule in rules]


def test_an_open_quote_is_named_where_it_opens() -> None:
    """A quote that is never closed is reported at its own line, and takes no other line along."""
    rules, problems = parse(b'1,A,8,20,1\n2,"B,8,20,2\n3,C,8,20,3\n')

    assert [1, 3] == [rule.service for rule in rules]
    assert [(2, "csv")] == problems


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("8", "20", (480, 1200)),
        ("08", "8:30", (480, 510)),
        ("0", "24", (0, 1440)),
        ("22", "6", (1320, 360)),
        ("22", "0", (1320, 1440)),
        ("0:01", "24:00", (1, 1440)),
        ("23:59", "0:01", (1439, 1)),
        ("08:00:00", "20:30:00", (480, 1230)),
        ("22:00:00", "24:00:00", (1320, 1440)),
    ],
)
def test_times_are_read_as_people_write_them(
    start: str, end: str, expected: tuple[int, int]
) -> None:
    """Hours alone, with minutes, the whole day, over midnight, and 0 as the midnight that ends a day."""
    rules, _ = parse(f"1,A,{start},{end},1\n".encode())

    assert [(rule.start_min, rule.end_min) for rule in rules] == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "0,0",
        "24,8",
        "8,25",
        "8:60,9",
        "8:00:30,9",
        "8:00:00:00,9",
        "8.5,9",
        "8:5,9",
        "-1,9",
        ",9",
        "8,",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    """What is no time of the day is no rule."""
    assert () == parse(f"1,A,{text},1\n".encode())[0]


def test_the_line_forms_of_data_files_are_understood() -> None:
    """Byte-order mark, header, CRLF, blank lines, spaces round a field and quoted names are fine."""
    rules, problems = parse(
        b'\xef\xbb\xbfservice,name,from,to,total\r\n\r\n 1 , "News, 24", 8 , 20 , 147 \r\n'
    )

    assert [] == problems
    assert rules == (Rule(1, "News, 24", 480, 1200, 147),)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('"Twitter" ', "Twitter"),
        ('\t"Twitter"', "Twitter"),
        ('" Twitter "', "Twitter"),
        ('"the ""best"" news"', 'the "best" news'),
        ('"two\nlines"', "two\nlines"),
        ("Twitter\t", "Twitter"),
    ],
)
def test_names_are_quoted_and_trimmed(written: str, name: str) -> None:
    """Blanks around a field do not count, inside or outside its quotes; a doubled quote is one."""
    rules, problems = parse(f"1,{written},8,20,147\n2,B,8,20,1".encode())

    assert [] == problems
    assert [rule.application for rule in rules] == [name, "B"]


@pytest.mark.parametrize("line", [b'1,"A"b,8,20,1', b'1,a"b,8,20,1', b"1,A,8,20,1\r2,B", b'1,"A'])
def test_a_line_that_cannot_be_split_is_refused_alone(line: bytes) -> None:
    """Text beside quotes, a quote inside a plain field, a lone CR, an open quote."""
    rules, problems = parse(line + b"\n2,B,8,20,1\n")

    assert [(1, "csv")] == problems
    assert [2] == [rule.service for rule in rules]


def test_windows_that_touch_do_not_overlap() -> None:
    """A window ends before the minute at which the next begins, over midnight too."""
    rules, problems = parse(b"1,A,22,6,1\n1,A,6,22,2\n")

    assert [] == problems
    assert 2 == len(rules)


def test_two_services_may_share_an_application() -> None:
    """One application with two services is two rules with one name, equal after NFC."""
    rules, problems = parse("1,Café,8,20,1\n2,Café,8,20,2\n".encode())

    assert [] == problems
    assert 1 == len({rule.application for rule in rules})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Twitter", "Twitter"),
        ("News & more", "News %26 more"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("a/b", "a%2Fb"),
        ("../x", "%2E.%2Fx"),
        ("%2e", "%252e"),
        ("Café", "Café"),
        ("توك", "توك"),
        ("a\nb\x00", "a%0Ab%00"),
        ("💬", "%F0%9F%92%AC"),
    ],
)
def test_an_application_cannot_leave_output(name: str, expected: str) -> None:
    """The directory name is one path component without a leading dot, whatever the application is called."""
    assert directory_name(name) == expected


def test_a_change_reads_as_words() -> None:
    """The diff names thresholds, renames, additions and removals."""
    old = parse_rules([("R", b"1,A,8,20,99\n2,B,8,20,5\n3,C,8,20,5\n")])
    new = parse_rules([("R", b"1,A,8,20,1200\n2,Bee,8,20,5\n4,D,9,10:30,7\n")])

    assert [
        "A 99 -> 1,200",
        "service 2: B is now Bee",
        "D (4) 9-10:30 over 7 added",
        "C (3) 8-20 removed",
    ] == describe_change(old, new)


@pytest.mark.parametrize(
    "other",
    [
        "Twitter\u00a0", "\u3000Twitter", "Twit\u200bter", "Twitter\ufeff", "\u200eTwitter", "Twit\u00adter",
        "Twitter\u202f", "TWITTER", "Twitter\ufe0f", "Twit\u034fter", "\u3164Twitter",
    ],
)  # fmt: skip
def test_an_application_has_one_spelling(other: str) -> None:
    """A name that differs only in case, invisible characters or kinds of blank is the same one, written twice."""
    ruleset = parse_rules([("RULES.csv", f"1,Twitter,0,24,100\n2,{other},0,24,100\n".encode())])

    assert ["Twitter"] == ruleset.applications()
    [problem] = ruleset.problems
    assert (2, "name_twin") == (problem.line, problem.reason)
    assert "is written 'Twitter' at RULES.csv:1" in problem.message
    assert "twitter" == other.casefold() or "\\u" in problem.message


@pytest.mark.parametrize(
    "names",
    [("You Tube", "You\u00a0Tube"), ("You Tube", "You  Tube"), ("الأخبار", "الأخ\u200bبار")],
)
def test_blanks_and_joiners_inside_a_name_tell_nobody_apart(names: tuple[str, str]) -> None:
    """Inside the name as at its ends."""
    rows = "".join(f"{number},{name},0,24,100\n" for number, name in enumerate(names, 1))

    assert [(2, "name_twin")] == parse(rows.encode())[1]


@pytest.mark.parametrize("name", ["\u200b", "\u00a0\u3000", "\u2060\ufeff", "\u3164"])
def test_a_name_that_nobody_sees_is_empty(name: str) -> None:
    """It would be a directory that nobody finds."""
    assert [(1, "application")] == parse(f"1,{name},0,24,100\n".encode())[1]


@pytest.mark.parametrize(
    "row", ["١,تويتر,٨,٢٠,١٤٧", "१,Twitter,८,२०,१४७", "１,Twitter,８,２０,１４７"]
)
def test_a_first_line_in_digits_of_another_script_is_no_header(row: str) -> None:
    """It is a rule that cannot be read, and is told of: skipped as a header it would be missing without a word."""
    assert [(1, "service")] == parse(f"{row}\n2,B,8,20,1\n".encode())[1]


def test_rows_of_commas_are_blank() -> None:
    """A spreadsheet saves the rows below its last one so."""
    rules, problems = parse(b"1,A,8,20,1\n,,,,\n , ,\t,,\n")

    assert [] == problems
    assert [1] == [rule.service for rule in rules]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        ("1,A,8,20,1\n2,B,8,20,1\n".encode("utf-16"), "UTF-16: save it as UTF-8"),
        ("1,A,8,20,1\n".encode("utf-16-be").join([b"\xfe\xff", b""]), "UTF-16: save it as UTF-8"),
        (b"1,Caf\xe9,8,20,1\n", "not UTF-8: save it as UTF-8"),
        (b"1;A;8;20;1\n", "separated by semicolons"),
        (b"1\tA\t8\t20\t1\n", "separated by tabs"),
        (b"1|A|8|20|1\n", "separated by vertical bars"),
        (b"1,A,8,20,1\r2,B,8,20,1\r", "carriage returns (CR) alone"),
    ],
)
def test_a_file_of_another_form_is_told_by_its_cause(data: bytes, cause: str) -> None:
    """What to save the file as, where every line would only be said to be wrong."""
    ruleset = parse_rules([("RULES.csv", data)])

    assert () == ruleset.rules
    assert cause in ruleset.problems[0].message


TEXT = "service,name,start,end,total\n1,Twitter,8,20,147\n2,WhatsApp,9,18,68\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TEXT.encode("utf-16"), "the file is UTF-16: save it as UTF-8"),
        (TEXT.encode("utf-16-le"), "the file is UTF-16: save it as UTF-8"),
        (TEXT.encode("utf-16-be"), "the file is UTF-16: save it as UTF-8"),
        (TEXT.replace(",", ";").encode(), "its fields are separated by semicolons: separate them by commas"),
        (b"1;Tw, it;8;20;147\n", "its fields are separated by semicolons: separate them by commas"),
        (b'1;"Tw, it";8;20;147\n', "its fields are separated by semicolons: separate them by commas"),
        (TEXT.replace(",", "\t").encode(), "its fields are separated by tabs: separate them by commas"),
        (TEXT.replace("\n", "\r").encode(),
         "the file has carriage returns (CR) alone as line ends: save it with line ends of Unix or Windows"),
        (b"1,A,08:00:30,20,1\n",
         "start '08:00:30' has seconds, and windows begin and end at whole minutes: write 08:00"),
        (b"1,A,8,20:15:01,1\n",
         "end '20:15:01' has seconds, and windows begin and end at whole minutes: write 20:15"),
        (b"1,A,24:00:00,20,1\n", "start '24:00:00' is not a time: write an hour from 0 to 23, or 8:30"),
        (b'6,"a;b;c;d;e",8,20\n',
         "it has 4 field(s) instead of five: service,name,start,end,total volume (a name with a comma goes in double"
         " quotes)"),
        ("1,تطبيق المكالمات الدولية الطويلة جدا,8,20,147\n".encode("utf-16-le"),
         "the file is UTF-16: save it as UTF-8"),
        (b"1,A,8,20,1" + bytes(64), "it has NUL bytes, a hole of a copy that is not complete: copy the file again"),
        (b"1,A,8:60:00,20,1\n", "start '8:60:00' is not a time: write an hour from 0 to 23, or 8:30"),
    ],
)  # fmt: skip
def test_a_line_of_another_form_is_told_by_its_cause(content: bytes, expected: str) -> None:
    """What to save or write instead, and not only that there are not five fields."""
    ruleset = parse_rules([("RULES.csv", content)])

    assert ((), expected) == (ruleset.rules, ruleset.problems[0].message)


def test_a_file_in_utf_16_is_one_problem() -> None:
    """Its lines are not told one by one."""
    assert [(1, "utf8")] == parse(("3,A,8,20,1\n" * 9).encode("utf-16-le"))[1]
