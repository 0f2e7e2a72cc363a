"""Where a setting's value comes from, and which source is the stronger."""

from pathlib import Path

import pytest

from upswell.config.settings import FIELDS, Settings
from upswell.config.sources import gather, resolve, state_dir_of
from upswell.errors import ConfigError, InputMissing, UsageError
from upswell.zones import Zones

PATHS = {"data": "d", "segment": "s", "rules": "r", "output": "o"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: Path, text: str) -> Path:
    """A file, its directory made."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_defaults_hold_when_nothing_is_set() -> None:
    """Without a source each field has its default, and says so."""
    settings = resolve(PATHS, environ={})

    assert Settings(**{name: Path(path) for name, path in PATHS.items()}) == settings
    assert set(FIELDS) == set(settings.origins)
    assert "default" == settings.origins["keep_days"]
    assert "argument DATA" == settings.origins["data"]


def test_each_source_beats_the_weaker_ones(tmp_path: Path) -> None:
    """A flag beats the environment, that beats upswell.toml, that beats the one beside the rules."""
    write(tmp_path / "r" / "upswell.toml", "keep_days = 5\n")
    found = [resolve(PATHS, environ={})]
    write(tmp_path / "upswell.toml", "keep_days = 6\n")
    found.append(resolve(PATHS, environ={}))
    environ = {"UPSWELL_KEEP_DAYS": "7"}
    found.append(resolve(PATHS, environ=environ))
    found.append(resolve(PATHS | {"keep_days": "8"}, environ=environ))

    assert [5, 6, 7, 8] == [each.keep_days for each in found]
    assert ["r/upswell.toml", "upswell.toml", "UPSWELL_KEEP_DAYS", "--keep-days"] == [
        each.origins["keep_days"] for each in found
    ]


def test_a_config_file_stands_in_for_the_one_of_the_directory(tmp_path: Path) -> None:
    """``--config`` (or UPSWELL_CONFIG) is read instead of ./upswell.toml, its paths relative to itself."""
    write(tmp_path / "upswell.toml", "threads = 1\n")
    write(tmp_path / "r" / "RULES.csv", "")
    file = write(tmp_path / "etc" / "u.toml", 'threads = 2\nstate = "../state"\noutput = "/abs"\n')
    flags = {"data": "d", "segment": "s", "rules": "r"}

    assert 2 == resolve(flags, file, environ={}).threads
    assert 2 == resolve(flags, environ={"UPSWELL_CONFIG": str(file)}).threads
    assert tmp_path / "state" == Path(resolve(flags, file, environ={}).state_dir).resolve()
    assert Path("/abs") == resolve(flags, file, environ={}).output


def test_a_missing_config_file_is_an_error(tmp_path: Path) -> None:
    """A file named by ``--config`` must be there."""
    with pytest.raises(InputMissing, match="nowhere"):
        resolve(PATHS, tmp_path / "nowhere.toml", environ={})


def test_the_settings_beside_a_rules_file_are_those_of_its_directory(tmp_path: Path) -> None:
    """When RULES is a file, upswell.toml of its directory holds."""
    write(
        tmp_path / "rules" / "upswell.toml",
        'data_timezone = "Africa/Cairo"\nrules_timezone = "UTC"\n',
    )
    write(tmp_path / "rules" / "RULES.csv", "")

    zones = resolve(PATHS | {"rules": "rules/RULES.csv"}, environ={}).zones

    assert Zones("Africa/Cairo", "UTC") == zones


def test_only_settings_of_the_rules_may_stand_beside_them(tmp_path: Path) -> None:
    """Another key there is an error that names the file and the key."""
    write(tmp_path / "r" / "upswell.toml", "poll_s = 1\n")

    with pytest.raises(ConfigError, match=r"r/upswell\.toml.*'poll_s'"):
        resolve(PATHS, environ={})


def test_rules_in_the_present_directory_may_share_its_file(tmp_path: Path) -> None:
    """When ./upswell.toml is also the one beside the rules, every key may stand there."""
    write(tmp_path / "upswell.toml", "poll_s = 3\n")

    assert 3.0 == resolve(PATHS | {"rules": "."}, environ={}).poll_s


@pytest.mark.parametrize(
    ("text", "suggested"),
    [("keep_day = 3", "keep_days"), ("poll-s = 3", "poll_s"), ("measures = 1", "measure")],
)
def test_an_unknown_key_is_an_error_with_a_suggestion(
    tmp_path: Path, text: str, suggested: str
) -> None:
    """A slip in upswell.toml never passes for a default."""
    write(tmp_path / "upswell.toml", text)

    with pytest.raises(ConfigError, match=f'did you mean "{suggested}"'):
        resolve(PATHS, environ={})


def test_broken_toml_is_an_error_with_its_line(tmp_path: Path) -> None:
    """A file that is no TOML says where."""
    write(tmp_path / "upswell.toml", "threads = 1\nkeep_days = \n")

    with pytest.raises(ConfigError, match="line 2"):
        resolve(PATHS, environ={})


def test_only_a_near_miss_among_the_variables_is_an_error() -> None:
    """UPSWELL_KEEPDAYS is a slip; UPSWELL_PORT is what an orchestrator sets on its own."""
    others = {"UPSWELL_PORT": "tcp://1", "UPSWELL_SERVICE_HOST": "1", "UPSWELL_THREADS": ""}

    assert "default" == resolve(PATHS, environ=others).origins["threads"]
    with pytest.raises(ConfigError) as caught:
        resolve(PATHS, environ={"UPSWELL_KEEPDAYS": "3"})
    assert "UPSWELL_KEEP_DAYS" in caught.value.hint


def test_the_paths_may_come_from_anywhere(tmp_path: Path) -> None:
    """Paths that no argument gives are taken from variables and upswell.toml; a missing one is named."""
    write(tmp_path / "upswell.toml", 'segment = "s"\nrules = "r"\n')

    settings = resolve({"data": "d"}, environ={"UPSWELL_OUTPUT": "o"})

    assert ("d", "s", "r", "o") == tuple(
        str(path) for path in (settings.data, settings.segment, settings.rules, settings.output)
    )
    with pytest.raises(UsageError, match="missing OUTPUT"):
        resolve({"data": "d"}, environ={})


def test_the_state_is_in_output_unless_it_is_named() -> None:
    """``state_dir`` follows --state, otherwise OUTPUT; without both there is no run to speak of."""
    assert Path("o/.upswell") == resolve(PATHS, environ={}).state_dir
    assert Path("st") == resolve(PATHS | {"state": "st"}, environ={}).state_dir
    assert Path("o/.upswell") == state_dir_of(gather({"output": "o"}, environ={}))
    with pytest.raises(UsageError):
        state_dir_of(gather({}, environ={}))


def test_an_output_given_as_a_flag_beats_a_state_of_a_weaker_source(tmp_path: Path) -> None:
    """``--output`` names the run, whatever a variable or upswell.toml says of another one's state."""
    environ = {"UPSWELL_STATE": "/var/lib/a"}

    assert Path("o/.upswell") == state_dir_of(gather({"output": "o"}, environ=environ))
    write(tmp_path / "upswell.toml", 'state = "/var/lib/b"\noutput = "elsewhere"\n')
    assert Path("o/.upswell") == state_dir_of(gather({"output": "o"}, environ={}))
    assert Path("st") == state_dir_of(gather({"output": "o", "state": "st"}, environ=environ))
    assert Path("/var/lib/a") == state_dir_of(gather({}, environ=environ))
    assert Path("/var/lib/a") == state_dir_of(gather({}, environ=environ | {"UPSWELL_OUTPUT": "o"}))
    assert Path("/var/lib/b") == state_dir_of(gather({}, environ={}))


@pytest.mark.parametrize("name", PATHS)
def test_a_state_that_is_one_of_the_paths_is_refused(tmp_path: Path, name: str) -> None:
    """By whatever name: links and dots are followed; within them is another matter."""
    (tmp_path / PATHS[name]).mkdir()
    (tmp_path / "link").symlink_to(PATHS[name])

    for state in (PATHS[name], "link", f"{PATHS[name]}/../{PATHS[name]}", tmp_path / "link"):
        with pytest.raises(ConfigError, match=f"is {name.upper()} itself") as caught:
            resolve(PATHS | {"state": str(state)}, environ={})
        assert "--state" in str(caught.value.message)
        assert caught.value.hint
    with pytest.raises(ConfigError, match="UPSWELL_STATE"):
        resolve(PATHS, environ={"UPSWELL_STATE": PATHS[name]})
    assert Path("o/.upswell") == resolve(PATHS, environ={}).state_dir
    assert Path("d/st") == resolve(PATHS | {"state": "d/st"}, environ={}).state_dir


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("UPSWELL_KERNEL_PATH", "bogus", "not a scanner path of this CPU"),
        ("UPSWELL_KERNEL_CHUNK_BYTES", "many", "not a number of bytes above 0"),
        ("UPSWELL_KERNEL_CHUNK_BYTES", "0", "not a number of bytes above 0"),
        ("UPSWELL_KERNEL_CHUNK_BYTES", "-5", "not a number of bytes above 0"),
    ],
)
def test_kernel_variable_out_of_range_is_a_usage_error(name: str, value: str, words: str) -> None:
    """A value that the kernel cannot take is told at the start, with the values that it can."""
    with pytest.raises(UsageError, match=f"{name}={value}: {words}") as caught:
        resolve(PATHS, environ={name: value})

    assert "unset it" in caught.value.hint


def test_kernel_variables_in_range_are_taken() -> None:
    """The plain path is there on every CPU."""
    assert resolve(
        PATHS, environ={"UPSWELL_KERNEL_PATH": "scalar", "UPSWELL_KERNEL_CHUNK_BYTES": "64"}
    )


def test_a_byte_order_mark_is_skipped_in_every_settings_file(tmp_path: Path) -> None:
    """Of --config, of the working directory's file and of the one beside the rules: editors write one unasked."""
    mark = "\N{ZERO WIDTH NO-BREAK SPACE}"
    own = write(tmp_path / "etc" / "u.toml", f"{mark}keep_days = 7\n")
    write(tmp_path / "r" / "upswell.toml", f"{mark}keep_days = 5\n")
    found = [resolve(PATHS, environ={}), resolve(PATHS, own, environ={})]
    write(tmp_path / "upswell.toml", f"{mark}keep_days = 6\n")
    found.append(resolve(PATHS, environ={}))

    assert [5, 7, 6] == [each.keep_days for each in found]


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-16-be", "UTF-16"), ("latin-1", "not UTF-8")],
)  # fmt: skip
def test_a_settings_file_in_another_encoding_is_told(
    tmp_path: Path, encoding: str, expected: str
) -> None:
    """By its name, with what to do, wherever it lies."""
    content = '# caf\xe9\nmeasure = "session"\n'.encode(encoding)
    for place, config in (("u.toml", Path("u.toml")), ("upswell.toml", None)):
        (tmp_path / place).write_bytes(content)
        with pytest.raises(ConfigError) as told:
            resolve(PATHS, config, environ={})
        (tmp_path / place).unlink()

        kind = f"the file is {expected}"
        assert (f"{place}: {kind}", "save it as UTF-8") == (told.value.message, told.value.hint)
