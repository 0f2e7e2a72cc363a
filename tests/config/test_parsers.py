"""Every setting has a grammar, and a value outside of it is refused with what to write."""

import tomllib
from pathlib import Path

import pytest

from upswell.config.parsers import PARSERS
from upswell.config.settings import FIELDS, describe
from upswell.config.sources import resolve
from upswell.errors import ConfigError, UsageError

PATHS = {"data": "d", "segment": "s", "rules": "r", "output": "o"}

GOOD = [
    ("once", "true", True),
    ("once", "0", False),
    ("watch", "off", False),
    ("adopt", "YES", True),
    ("threads", "3", 3),
    ("engine", "spark", "spark"),
    ("master", "local[2]", "local[2]"),
    ("master", "local[*]", "local[*]"),
    ("master", "spark://a.b:7077,c:7077", "spark://a.b:7077,c:7077"),
    ("shards", "256", 256),
    ("split_bytes", "1MiB", 1 << 20),
    ("batch_bytes", "1", 1),
    ("since", "now", "now"),
    ("since", "202004170000", "202004170000"),
    ("max_reject_ratio", "0.05", 0.05),
    ("data_timezone", "Africa/Cairo", "Africa/Cairo"),
    ("measure", "session", "session"),
    ("settle_s", "0", 0.0),
    ("rejects_max_bytes_per_file", "64MiB", 64 << 20),
    ("rejects_max_bytes_per_file", "0", 0),
    ("rejects_max_bytes_per_file", "1 gib", 1 << 30),
    ("output_mode", "0640", 0o640),
    ("output_mode", "0o600", 0o600),
    ("output_group", "0", "0"),
    ("log_format", "json", "json"),
    ("metrics", "9464", "127.0.0.1:9464"),
    ("metrics", "[::1]:0", "[::1]:0"),
    ("metrics", "0.0.0.0:9464", "0.0.0.0:9464"),
    ("suppress", "dials/", Path("dials")),
    ("max_per_customer_per_day", "3", 3),
    ("control_key", "sixteen letters!", "sixteen letters!"),
]

BAD = [
    ("once", "maybe"),
    ("threads", "0"),
    ("threads", "two"),
    ("threads", "1.5"),
    ("engine", "flink"),
    ("master", "yarn"),
    ("master", "local[0]"),
    ("master", "spark://host"),
    ("shards", "3"),
    ("shards", "0"),
    ("shards", "512"),
    ("split_bytes", "0"),
    ("batch_bytes", "0"),
    ("threads", "٣"),
    ("since", "20200417"),
    ("since", "202013010000"),
    ("max_reject_ratio", "1.1"),
    ("max_reject_ratio", "nan"),
    ("data_timezone", "Cairo"),
    ("data_timezone", "../../etc/passwd"),
    ("measure", "both"),
    ("keep_days", "0"),
    ("keep_days", "-1"),
    ("keep_notifications_days", "0"),
    ("max_stamp_ahead_days", "-1"),
    ("settle_s", "-1"),
    ("poll_s", "0"),
    ("log_interval_s", "soon"),
    ("cadence_s", "90"),
    ("cadence_s", "172800"),
    ("rejects_max_bytes_per_file", "64MB"),
    ("output_mode", "0777"),
    ("output_mode", "0440"),
    ("output_mode", "rw-r-----"),
    ("output_group", "no such group"),
    ("state", ""),
    ("log_format", "xml"),
    ("metrics", "localhost"),
    ("metrics", "127.0.0.1:65536"),
    ("metrics", "http://127.0.0.1:80"),
    ("metrics", "::1:9464"),
    ("suppress", ""),
    ("max_per_customer_per_day", "-1"),
    ("max_per_customer_per_day", "many"),
    ("control_share", "101"),
    ("control_share", "0.125"),
    ("control_share", "5 %"),
    ("control_key", "too short"),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_field_has_a_parser() -> None:
    """A field without a grammar could not be set."""
    assert set(FIELDS) == set(PARSERS)


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_a_good_value_is_read_alike_from_flag_and_variable(
    name: str, text: str, value: object
) -> None:
    """A flag and a variable have one grammar."""
    by_flag = resolve(PATHS | {name: text}, environ={})
    by_variable = resolve(PATHS, environ={"UPSWELL_" + name.upper(): text})

    assert value == getattr(by_flag, name)
    assert value == getattr(by_variable, name)


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_is_named_with_its_source_and_what_to_write(name: str, text: str) -> None:
    """The message holds the option or variable, the hint what to write; only a flag is usage."""
    flag = "--" + name.replace("_", "-")
    with pytest.raises(UsageError) as caught:
        resolve(PATHS | {name: text}, environ={})
    assert caught.value.message.startswith(flag)
    assert caught.value.hint.startswith("write ")
    if text:
        with pytest.raises(ConfigError, match="UPSWELL_" + name.upper()):
            resolve(PATHS, environ={"UPSWELL_" + name.upper(): text})


def test_a_control_group_needs_a_share_and_a_key() -> None:
    """A share in percent without its key is refused; a key alone draws nobody."""
    key = {"control_key": "sixteen letters!"}
    with pytest.raises(ConfigError, match=r"--control-share: .* requires control_key"):
        resolve(PATHS | {"control_share": "5"}, environ={})

    assert 525 == resolve(PATHS | {"control_share": "5.25"} | key, environ={}).policy.control_share
    assert "" == resolve(PATHS | key, environ={}).policy.version


def test_a_control_key_is_shown_nowhere(tmp_path: Path) -> None:
    """Neither among the settings, nor in an error about it, nor in the settings' own words."""
    settings = resolve(PATHS | {"control_key": "sixteen letters!"}, environ={})
    with pytest.raises(ConfigError) as caught:
        resolve(PATHS, environ={"UPSWELL_CONTROL_KEY": "hunter2"})

    assert "set, and not shown" == describe("control_key", settings.control_key)
    assert "sixteen" not in repr(settings)
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


def test_a_suppression_list_of_a_settings_file_lies_beside_it(tmp_path: Path) -> None:
    """As the four paths: relative to the file that names it."""
    (tmp_path / "upswell.toml").write_text(
        'suppress = "SUPPRESS.csv"\ncontrol_share = 7.5\n', "utf-8"
    )
    found = resolve(PATHS, Path("upswell.toml"), {"UPSWELL_CONTROL_KEY": "sixteen letters!"})
    beside = resolve(PATHS, tmp_path / "upswell.toml", {"UPSWELL_CONTROL_KEY": "sixteen letters!"})

    assert (Path("SUPPRESS.csv"), 750) == (found.suppress, found.policy.control_share)
    assert tmp_path / "SUPPRESS.csv" == beside.suppress


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("threads = 2", 2),
        ("poll_s = 2", 2.0),
        ("poll_s = 0.5", 0.5),
        ("watch = false", False),
        ("output_mode = 0o600", 0o600),
        ('output_mode = "0600"', 0o600),
        ("since = 202004170000", "202004170000"),
        ("rejects_max_bytes_per_file = 1024", 1024),
    ],
)
def test_toml_values_have_their_own_types(tmp_path: Path, line: str, value: object) -> None:
    """Numbers and booleans of TOML are taken as they are."""
    (tmp_path / "upswell.toml").write_text(line, "utf-8")
    name = next(iter(tomllib.loads(line)))

    assert value == getattr(resolve(PATHS, environ={}), name)


@pytest.mark.parametrize(
    "line",
    [
        "threads = true",
        "threads = 1.5",
        "watch = 1",
        "poll_s = true",
        "output_mode = 640",
        "data = 3",
        "measure = []",
    ],
)
def test_a_toml_value_of_another_type_is_refused(tmp_path: Path, line: str) -> None:
    """A boolean is no number, a decimal 640 is no octal mode."""
    (tmp_path / "upswell.toml").write_text(line, "utf-8")

    with pytest.raises(ConfigError, match=r"upswell\.toml"):
        resolve(PATHS, environ={})


def test_a_weaker_source_is_checked_although_it_is_overruled() -> None:
    """A bad variable is reported even when a flag sets the field: it would bite the next start."""
    with pytest.raises(ConfigError):
        resolve(PATHS | {"threads": "2"}, environ={"UPSWELL_THREADS": "many"})


def test_values_are_described_as_they_would_be_written() -> None:
    """A mode is octal, a boolean is TOML's, and what is not set says what holds instead."""
    assert "0640" == describe("output_mode", 0o640)
    assert "false" == describe("watch", False)
    assert "OUTPUT/.upswell" == describe("state", None)
    assert "not set" == describe("since", None)
