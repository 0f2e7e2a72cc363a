"""What terminals and logs get to see: no whole msisdn, no control byte."""

from hypothesis import given
from hypothesis import strategies as st

from upswell.privacy import escape, mask, mask_line, show_format


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
