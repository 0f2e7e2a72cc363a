"""What terminals and logs get to see: no whole msisdn, no control byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upswell.privacy import escape, mask, mask_digits, mask_line, show_format
from upswell.source.listing import show_name


def test_an_msisdn_is_masked_in_its_middle() -> None:
    """Ten digits show four and three."""
    assert "0126•••098" == mask("0126545098")


@given(st.text("0123456789", min_size=5, max_size=15))
def test_at_least_three_digits_of_any_msisdn_are_hidden(msisdn: str) -> None:
    """Whatever its length, a masked msisdn does not say whose it is."""
    shown = mask(msisdn).replace("•", "")

    assert len(shown) <= len(msisdn) - 2
    assert msisdn not in mask(msisdn)


@given(st.text("0123456789", min_size=5, max_size=15), st.integers(0, 999_999))
def test_a_line_shows_its_volume_and_time_but_not_its_msisdn(msisdn: str, volume: int) -> None:
    """The example of a reject stays useful."""
    line = mask_line(f"{msisdn},7,{volume},20200417193743".encode())

    assert f"{mask(msisdn)},7,{volume},20200417193743" == line


def test_an_msisdn_in_another_field_is_masked_too() -> None:
    """A file with its columns swapped gives nobody away."""
    assert "1,0126•••098,315,20200417193743" == mask_line(b"1,0126545098,315,20200417193743")
    assert "1,+2012•••098" == mask_line(b"1,+201265450981098")


def test_fourteen_digits_are_masked_unless_they_are_a_time() -> None:
    """A dial may have as many digits as a timestamp."""
    assert "x,1,2,0020•••123" == mask_line(b"x,1,2,00201265450123")
    assert "x,1,2,20200417193743" == mask_line(b"x,1,2,20200417193743")
    assert "x,1,2,2012•••123" == mask_line(b"x,1,2,20126545012123")


def test_a_long_line_is_cut() -> None:
    """A message stays a line."""
    assert 120 == len(mask_line(b"x" * 10_000))


@given(st.text())
def test_what_is_escaped_is_one_printable_line(text: str) -> None:
    """Neither a terminal nor a log can be steered by a file's name."""
    shown = escape(text)

    assert all(char.isprintable() or char == "\u3000" or char.isspace() for char in shown)
    assert not set("\n\r\x1b\x9b\u2028") & set(shown)


def test_ordinary_text_is_left_as_it_is() -> None:
    """Names in any script stay readable."""
    assert "واتساب WhatsApp ü" == escape("واتساب WhatsApp ü")
    assert r"\x1b[31m\xff" == escape("\x1b[31m\udcff")


def test_a_format_shows_the_head_alone() -> None:
    """Enough to see a country code, not a customer."""
    assert "+20124… (12 digits)" == show_format("+201245098123")
    assert "0124… (10 digits)" == show_format("0124567890")


def test_a_dial_in_utf_16_is_not_shown() -> None:
    """Zeros between the digits do not carry it past the mask."""
    shown = mask_line("0126545098,1,315,20200417193743".encode("utf-16"))

    assert "64 bytes that are not plain text" == shown


@pytest.mark.parametrize(
    "text",
    [
        "start '2020041710:00:00' is not a time",
        "usage-20200417.csv",
        "CDR_20200417193743.csv",
        "cdr 19991231 202004171937 20200417193743123",
        "DATA_202004171937.csv.part",
        "NOTIFY_0000000001_202004171937.csv",
        "REJECTS_0000000012.tsv is missing, begun-0000000013 is there",
        "shard-007-0000000012-0a1b2c3d.delta",
        "state bfe2e36a-c9b4-4d3f-ad87-196863456789",
        "97a645083cdabc03000326e0c12f35e9cd0adfb06f4c4518ad319cf073a31103",
        "2026-12-01T15:07:08.300",
    ],
)
def test_dates_and_names_of_our_own_are_not_masked(text: str) -> None:
    """What is no msisdn stays whole: it may be the very fault that a message is about."""
    assert text == mask_digits(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("usage-0126545098.csv", "usage-0126•••098.csv"),
        (
            "201001231245.csv",
            "2010•••245.csv",
        ),  # a mobile of Egypt, although there was such a minute
        ("20779000001 20200417", "2077•••001 20200417"),
        ("x2077900000120200417", "x2077•••417"),
        ("20200432", "202•••32"),
        ("NOTIFY_0126545098.csv", "NOTIFY_0126•••098.csv"),
    ],
)
def test_an_msisdn_beside_dates_is_masked(text: str, shown: str) -> None:
    """Only a whole run of digits that is a date is one."""
    assert shown == mask_digits(text)


@given(st.integers(2010, 2015), st.text("0123456789", min_size=8, max_size=8))
def test_a_mobile_number_of_egypt_is_never_taken_for_a_stamp(head: int, rest: str) -> None:
    """With its country code it begins as a year does."""
    assert f"{head}{rest}" not in mask_digits(f"{head}{rest}.csv")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("0126545098,1,315,2020-04-17 19:37:43", "0126•••098,1,315,2020-04-17 19:37:43"),
        ("0126545098,1,315,17/04/2020 9:37", "0126•••098,1,315,17/04/2020 9:37"),
        ("2020.4.7,1,0126545098,3", "2020.4.7,1,0126•••098,3"),
        ("x,1,2,20201317193743", "x,1,2,20201317193743"),
        ("20200417193743,1,2", "2020•••743,1,2"),  # of the msisdn's field nothing else is known
        ("x,1,2,2020.04.17-0126545098", "x,1,2,2020•••098"),
        ("x,1,2,2012-06-5450-98", "x,1,2,2012•••098"),
        ("x,1,2,20-10-2012 3456 78", "x,1,2,2010•••678"),
    ],
)
def test_a_date_in_another_form_is_shown(line: str, shown: str) -> None:
    """A timestamp that is refused for its form shows its form."""
    assert shown == mask_line(line.encode())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("DATA_202004171937.csv", "DATA_202004171937.csv"),
        ("DATA_202013011200.CSV", "DATA_202013011200.CSV"),
        ("DATA_202004171937.csv.201265450981", "DATA_202004171937.csv.2012•••981"),
        ("DATA_0126545098.csv", "DATA_0126•••098.csv"),
        ("DATA_20126545098199.csv", "DATA_2012•••199.csv"),
    ],
)
def test_the_name_of_a_file_shows_its_stamp(name: str, shown: str) -> None:
    """A stamp that does not exist stays readable too, since it is why the file is ignored."""
    assert shown == show_name(name)
