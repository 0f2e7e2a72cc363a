"""The figures that a run serves: those of the state, going on over kills, and serving them disturbs nobody."""

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import ROOT, Upswell, clean_environment
from support.inputs import DIALS, RECORDS, write, write_inputs
from support.running import Running
from upswell import kernel
from upswell.engine.metrics import Metrics
from upswell.engine.metrics_server import _REQUEST_S as REQUEST_S
from upswell.engine.metrics_server import _REQUESTS_MAX as REQUESTS_MAX
from upswell.engine.summary import Standing, Summary
from upswell.errors import ConfigError
from upswell.reference.versions import Versions
from upswell.source.file import STATES
from upswell.state.rows import Totals


class Served(Running):
    """A run for ever that serves its figures, ended with the test."""

    def __init__(self, place: Path, *words: str) -> None:
        super().__init__(place, *words, "--metrics", "127.0.0.1:0", "--poll-s", "0.1")
        told = self.wait_for("metrics are served")
        found = re.search(r"address=(\S+)", told)
        assert found
        self.address = found[1]
        # Nobody reads on: a full pipe would hold the run up.
        threading.Thread(target=self.log.read, daemon=True).start()

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of an answer."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def figure(self, name: str) -> float:
        """One figure."""
        return figures(self.get("/metrics")[1])[name]

    def wait_for_figure(self, name: str, expected: float) -> None:
        """Until it has this value."""
        until = time.monotonic() + 20
        while figures(self.get("/metrics")[1]).get(name) != expected:
            assert time.monotonic() < until, self.get("/metrics")[1]
            time.sleep(0.05)


def figures(text: str) -> dict[str, float]:
    """Every sample of an answer by its name with labels."""
    rows = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A run over the small inputs."""
    run = Served(tmp_path, *write_inputs(tmp_path))
    yield run
    run.process.kill()
    run.process.communicate()


def test_the_figures_are_those_of_the_state(served: Served, upswell: Upswell) -> None:
    """Lines by outcome, rejects by reason, notifications and files say what ``status`` says."""
    served.wait_for_figure('upswell_lines_total{outcome="notified"}', 1)
    served.wait_for_figure('upswell_files{state="done"}', 0)  # it is the newest: it may still grow
    found = figures(served.get("/metrics")[1])
    status = json.loads(upswell("status", "--output", "out", "--json").stdout)

    for name, label, values in (
        ("lines_total", "outcome", status["outcomes"]),
        ("rejects_total", "reason", status["rejects"]),
        ("notifications_total", "application", status["notifications"]),
        ("files", "state", status["files"]),
    ):
        assert values == {key: found[f'upswell_{name}{{{label}="{key}"}}'] for key in values}
    assert 0 == found['upswell_notifications_total{application="WhatsApp"}']
    assert status["bytes"] == found["upswell_bytes_total"]
    assert 3 == found['upswell_reference_entries{kind="segment"}']
    assert 0 == found['upswell_reference_left_out_lines{kind="rules"}']
    assert 1 == found["upswell_commit_duration_seconds_count"]


def test_duplicate_refused_and_unread_files_are_figures(served: Served, tmp_path: Path) -> None:
    """Each is counted when it comes; the unread ones are a gauge."""
    data = tmp_path / "data"
    served.wait_for_figure('upswell_lines_total{outcome="notified"}', 1)
    found = figures(served.get("/metrics")[1])
    names = ("duplicate_files_total", "exported_again_files_total", "refused_files_total", "unread_files")  # fmt: skip
    assert [0, 0, 0, 0] == [found[f"upswell_{name}"] for name in names]
    assert 0 == found["upswell_other_form_ratio"]
    write(data / "DATA_202004171938.csv", RECORDS)
    write(data / "DATA_202004171939.csv", "0126545098;1;5;20200417190000\n")
    write(data / "DATA_202004171940.csv", "0999999999,1,5,20200417190000\n")
    for name in ("DATA_202004171941.CSV", "usage_202004171942.txt", "notes.txt"):
        write(data / name, "")

    served.wait_for_figure("upswell_duplicate_files_total", 1)
    served.wait_for_figure("upswell_refused_files_total", 1)
    served.wait_for_figure("upswell_unread_files", 2)
    (data / "DATA_202004171941.CSV").unlink()
    served.wait_for_figure("upswell_unread_files", 1)
    write(data / "DATA_202004171943.csv", f"+20{DIALS[0][1:]},1,5,20200417190000\n" * 99)
    served.wait_for_figure("upswell_other_form_ratio", 99 / 101)
    write(data / "DATA_202004171944.csv", f"{RECORDS}0126545098,9,1,20200417190000\n")
    served.wait_for_figure("upswell_exported_again_files_total", 1)


def test_counters_go_on_after_a_kill(served: Served, tmp_path: Path) -> None:
    """A run after kill -9 counts on from what was committed."""
    served.wait_for_figure('upswell_lines_total{outcome="notified"}', 1)
    served.process.send_signal(signal.SIGKILL)
    served.process.wait()
    write(tmp_path / "data" / "DATA_202004171938.csv", RECORDS.replace("3,20,", "3,200,"))
    again = Served(tmp_path, "data", "segment", "rules", "out")
    try:
        again.wait_for_figure('upswell_lines_total{outcome="notified"}', 2)
        found = figures(again.get("/metrics")[1])
    finally:
        again.process.kill()
        again.process.communicate()

    assert 14 == sum(n for name, n in found.items() if name.startswith("upswell_lines_total"))
    assert 2 == found["upswell_batches_total"]
    assert 1 == found['upswell_notifications_total{application="Youtube"}']


def test_a_run_is_ready_when_it_has_looked(served: Served) -> None:
    """/readyz says so, /healthz that the process lives, and another path what there is."""
    served.wait_for_figure("upswell_ready", 1)

    assert (200, "ready\n") == served.get("/readyz")
    assert (200, "alive\n") == served.get("/healthz")
    assert (404, "there are /metrics, /healthz and /readyz\n") == served.get("/other")


def test_a_run_that_waits_for_its_reference_is_not_ready(tmp_path: Path) -> None:
    """It lives and says why it is not ready yet; there are no counts before there is something to count."""
    paths = write_inputs(tmp_path)
    os.utime(tmp_path / "rules" / "RULES.csv")
    run = Served(tmp_path, *paths, "--settle-s", "30")
    try:
        assert (503, "starting: DATA was not scanned yet\n") == run.get("/readyz")
        assert (200, "alive\n") == run.get("/healthz")
        assert "upswell_lines_total" not in run.get("/metrics")[1]
    finally:
        run.process.kill()
        run.process.communicate()


def test_a_client_that_says_nothing_holds_nobody_up(served: Served) -> None:
    """Neither the run nor another client waits for it, however many there are."""
    host, _, port = served.address.rpartition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(10)]
    try:
        began = time.monotonic()
        assert (200, "alive\n") == served.get("/healthz")
        served.wait_for_figure('upswell_lines_total{outcome="notified"}', 1)
        assert time.monotonic() - began < 4
    finally:
        for each in silent:
            each.close()


def test_clients_that_drip_hold_nobody_up(served: Served) -> None:
    """More of them than are served at once, who send a byte now and then: others are answered, also when they go on."""
    host, _, port = served.address.rpartition(":")
    served.wait_for_figure('upswell_lines_total{outcome="notified"}', 1)
    over, hung_up = threading.Event(), threading.Semaphore(0)

    def drip() -> None:
        while not over.is_set():
            with (
                socket.create_connection((host, int(port))) as client,
                contextlib.suppress(OSError),
            ):
                client.settimeout(0.1)
                for byte in itertools.cycle(b"GET /healthz?"):
                    if over.is_set():
                        return
                    client.sendall(bytes([byte]))
                    with contextlib.suppress(TimeoutError):
                        if not client.recv(1):
                            break
            hung_up.release()
            over.wait(0.05)  # two cores are not to do this alone

    drips = [threading.Thread(target=drip, daemon=True) for _ in range(2 * REQUESTS_MAX)]
    for each in drips:
        each.start()
    try:
        assert hung_up.acquire(timeout=10)  # all places are taken
        for _ in range(10):
            assert (200, "alive\n") == served.get("/healthz")
        assert served.figure("process_threads") < 3 * REQUESTS_MAX
    finally:
        over.set()
        for each in drips:
            each.join()


def test_a_request_has_one_deadline(served: Served) -> None:
    """Who sends a byte now and then is hung up on, also when nobody else comes."""
    host, _, port = served.address.rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(0.2)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 30:
                client.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    if not client.recv(1):
                        break
        assert REQUEST_S - 1 < time.monotonic() - began < 20


def test_a_refused_edit_is_counted(served: Served, tmp_path: Path) -> None:
    """The counter of reload failures grows, and the version in force stays."""
    served.wait_for_figure('upswell_lines_total{outcome="notified"}', 1)
    write(tmp_path / "rules" / "RULES.csv", "1,Twitter,8,20,many\n")
    served.wait_for_figure("upswell_reload_failures_total", 1)

    assert 3 == served.figure('upswell_reference_entries{kind="rules"}')


def test_missing_and_late_files_are_counted(served: Served, tmp_path: Path) -> None:
    """A minute without a file is counted when the file after it is done, a late file when it is."""
    served.wait_for_figure("upswell_batches_total", 1)
    for minute, batches in ((39, 2), (40, 3), (38, 4)):
        record = f"0124637855,5,36{minute},202004171937{minute}\n"
        write(tmp_path / "data" / f"DATA_2020041719{minute}.csv", record)
        served.wait_for_figure("upswell_batches_total", batches)
        if minute == 40:
            served.wait_for_figure("upswell_missing_files_total", 1)
    served.wait_for_figure("upswell_late_files_total", 1)

    assert 1 == served.figure("upswell_missing_files_total")


def test_files_held_on_their_way_to_the_archive_are_counted(tmp_path: Path) -> None:
    """As long as somebody has to see to them, also after a restart."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "data" / "DATA_202004171938.csv", "0124637855,5,36,20200417193800\n")
    taken = write(tmp_path / "archive" / "20200417" / "DATA_202004171937.csv", "another")
    for expected in (1, 1, 0):
        if not expected:
            taken.unlink()
        run = Served(tmp_path, *paths, "--archive", "archive")
        try:
            run.wait_for_figure("upswell_ready", 1)
            run.wait_for_figure("upswell_archive_held_files", expected)
        finally:
            run.process.kill()
            run.process.communicate()


def test_no_figure_names_a_customer(served: Served) -> None:
    """No dial is a label, whole or masked."""
    served.wait_for_figure('upswell_lines_total{outcome="notified"}', 1)
    text = served.get("/metrics")[1]

    assert not [dial for dial in DIALS if dial in text]
    assert "•" not in text


def test_an_address_that_is_taken_stops_the_start(tmp_path: Path, upswell: Upswell) -> None:
    """Before anything of DATA is read: whoever watches would see another run's figures."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = upswell(*write_inputs(tmp_path), "--once", "--metrics", address, code=75)

    assert f"cannot listen on {address}" in done.stderr
    assert [".upswell"] == [path.name for path in (tmp_path / "out").iterdir()]


def test_a_second_start_is_told_of_the_run_not_of_its_port(
    served: Served, tmp_path: Path, upswell: Upswell
) -> None:
    """The lock comes before the address, so that the exit code is that of a run that goes on."""
    served.wait_for_figure("upswell_ready", 1)
    paths = [str(tmp_path / name) for name in ("data", "segment", "rules", "out")]
    done = upswell(*paths, "--metrics", served.address, code=75)

    assert f"process {served.process.pid}," in done.stderr


def test_without_its_package_the_start_says_which(tmp_path: Path) -> None:
    """A run with --metrics and without the extra names it, and begins nothing."""
    without = (
        "import sys\nsys.modules['prometheus_client'] = None\n"
        "from upswell.cli.main import main\nmain()"
    )
    words = [*write_inputs(tmp_path), "--once", "--metrics", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, "-c", without, *words],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert 78 == done.returncode
    assert "pip install 'upswell[metrics]'" in done.stderr
    assert [".upswell"] == [path.name for path in (tmp_path / "out").iterdir()]


VERSIONS = Versions("a" * 64, "b" * 64)


def rendered(
    tmp_path: Path,
    application: str = "Twitter",
    versions: Versions = VERSIONS,
) -> str:
    """Every figure there is, of a summary made by hand."""
    stop = threading.Event()
    metrics = Metrics("127.0.0.1:0", tmp_path, tmp_path, stop)
    summary = Summary(before=Totals(1, 2, 3, {"counted": 2}, {"columns": 1}))
    summary.batches, summary.commit_s = 1, 0.3
    summary.notifications[application] = 5
    summary.notified_before = {application: 7}
    summary.files = dict.fromkeys(STATES, 1)
    summary.standing = Standing(
        versions, 3, 4, 5, 6, time.time() - 60, applications=("Youtube",), archive_held=2
    )
    metrics.progress(summary)
    text = metrics.render()
    metrics._server.server_close()
    return text


def test_a_commit_is_in_its_bucket(tmp_path: Path) -> None:
    """Buckets are cumulative, and the sum is that of the commits."""
    found = figures(rendered(tmp_path))

    assert 0 == found['upswell_commit_duration_seconds_bucket{le="0.25"}']
    assert 1 == found['upswell_commit_duration_seconds_bucket{le="0.5"}']
    assert 1 == found['upswell_commit_duration_seconds_bucket{le="+Inf"}']
    assert 0.3 == found["upswell_commit_duration_seconds_sum"]
    assert 60 <= found["upswell_oldest_waiting_seconds"] < 70
    assert 12 == found['upswell_notifications_total{application="Twitter"}']
    assert 2 == found["upswell_archive_held_files"]


def test_an_application_is_counted_from_0(tmp_path: Path) -> None:
    """Each one in force has its figure before its first notification, which is an increase then."""
    assert 0 == figures(rendered(tmp_path))['upswell_notifications_total{application="Youtube"}']


def test_what_is_off_has_no_version(tmp_path: Path) -> None:
    """The suppression list and the policy are among the versions in force once they are on, and only then."""
    found = re.findall(r'reference_info\{kind="(\w+)",version="(\w*)"\}', rendered(tmp_path))
    assert [("rules", "a" * 12), ("segment", "b" * 12)] == found
    versions = Versions("a" * 64, "b" * 64, "c" * 64, "d" * 64)
    found = re.findall(
        r'reference_info\{kind="(\w+)",version="(\w*)"\}', rendered(tmp_path, versions=versions)
    )
    assert [("suppress", "c" * 12), ("policy", "d" * 12)] == found[2:]


def test_a_strange_name_forges_no_figure(tmp_path: Path) -> None:
    """Quotes, backslashes and line ends of an application stay inside its label."""
    text = rendered(tmp_path, 'x"} 1\nupswell_ready 0\\')
    lines = [line for line in text.splitlines() if line.startswith("upswell_notifications_total")]

    assert r'upswell_notifications_total{application="x\"} 1\\x0aupswell_ready 0\\"} 12.0' in lines
    assert 2 == len(lines)
    assert set(kernel.OUTCOMES) == set(re.findall(r'lines_total{outcome="(\w+)"}', text))


def test_a_request_without_a_thread_holds_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the system has no thread left, however often, those that come later are served."""
    server = Metrics("127.0.0.1:0", tmp_path, tmp_path, threading.Event())._server

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    for _ in range(REQUESTS_MAX + 1):
        here, there = socket.socketpair()
        with here, there, pytest.raises(RuntimeError):
            server.process_request(here, ("127.0.0.1", 1))
    server.server_close()

    assert ({}, REQUESTS_MAX) == (server._open, server._free._value)


def test_a_bad_address_is_told(tmp_path: Path) -> None:
    """A host that is not ours is an error of the set-up, with the next step."""
    with pytest.raises(ConfigError, match=r"cannot listen on 192\.0\.2\.1:9464"):
        Metrics("192.0.2.1:9464", tmp_path, tmp_path, threading.Event())


def test_alerts_and_dashboard_ask_for_figures_that_exist(tmp_path: Path) -> None:
    """Every name in contrib/ is one that a run serves, and every alert has its paragraph in docs/operations.md."""
    names = {name.partition("{")[0] for name in figures(rendered(tmp_path))}
    alerts = (ROOT / "contrib" / "alerts.yml").read_text("utf-8")
    dashboard = json.loads((ROOT / "contrib" / "grafana.json").read_text("utf-8"))
    asked = [alerts] + [
        target["expr"] for panel in dashboard["panels"] for target in panel["targets"]
    ]
    used = {name for text in asked for name in re.findall(r"\b(?:upswell|process)_\w+", text)}
    manual = (ROOT / "docs" / "operations.md").read_text("utf-8")

    assert set() == used - names
    told = re.findall(r"^\| `(Upswell\w+)` \|", manual, re.MULTILINE)
    assert re.findall(r"- alert: (\w+)", alerts) == told


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_prometheus_accepts_what_it_is_given(tmp_path: Path) -> None:
    """Nothing is wrong with the rules and the figures, says promtool."""
    for words, given in (
        (["check", "rules", "contrib/alerts.yml"], ""),
        (["check", "config", "contrib/prometheus.yml"], ""),
        (["check", "metrics"], rendered(tmp_path)),
    ):
        done = subprocess.run(
            ["promtool", *words], cwd=ROOT, input=given, capture_output=True, text=True, check=False
        )
        assert 0 == done.returncode, done.stdout + done.stderr


RAISED = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'upswell_duplicate_files_total{{instance="grew"}}', values: '0x90 1x30'}}
      - {{series: 'upswell_duplicate_files_total{{instance="began"}}', values: '_x100 2x20'}}
      - {{series: 'upswell_duplicate_files_total{{instance="old"}}', values: '3x120'}}
      - {{series: 'upswell_refused_files_total{{instance="grew"}}', values: '0x90 5x30'}}
      - {{series: 'upswell_refused_files_total{{instance="none"}}', values: '0x120'}}
      - {{series: 'upswell_unread_files{{instance="some"}}', values: '0x100 4x20'}}
      - {{series: 'upswell_unread_files{{instance="none"}}', values: '0x120'}}
      - {{series: 'upswell_other_form_ratio{{instance="some"}}', values: '0x100 0.5x20'}}
      - {{series: 'upswell_other_form_ratio{{instance="none"}}', values: '0x120'}}
      - {{series: 'upswell_reference_left_out_lines{{kind="rules"}}', values: '0x100 2x20'}}
      - {{series: 'upswell_reference_left_out_lines{{kind="suppress"}}', values: '0x120'}}
      - {{series: 'upswell_reference_left_out_lines{{kind="segment"}}', values: '9x120'}}
    alert_rule_test:
      - alertname: UpswellLinesLeftOut
        eval_time: 110m
        exp_alerts:
          - {{exp_labels: {{severity: ticket, kind: rules}},
             exp_annotations: {{summary: "2 lines of the active rules were left out."}}}}
      - alertname: UpswellOtherForm
        eval_time: 110m
        exp_alerts:
          - exp_labels: {{severity: ticket, instance: some}}
            exp_annotations: {{summary: "50% of the sampled MSISDNs outside the segment are in it in another form."}}
      - alertname: UpswellDuplicateFiles
        eval_time: 110m
        exp_alerts:
          - {{exp_labels: {{severity: ticket, instance: grew}},
             exp_annotations: {{summary: "A file repeats the content of another."}}}}
          - {{exp_labels: {{severity: ticket, instance: began}},
             exp_annotations: {{summary: "A file repeats the content of another."}}}}
      - alertname: UpswellRefusedFiles
        eval_time: 110m
        exp_alerts:
          - {{exp_labels: {{severity: ticket, instance: grew}},
             exp_annotations: {{summary: "Not one line of a file is a record."}}}}
      - alertname: UpswellUnreadFiles
        eval_time: 110m
        exp_alerts:
          - {{exp_labels: {{severity: ticket, instance: some}},
             exp_annotations: {{summary: "4 names in DATA look like data and are not read."}}}}
"""


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_alerts_are_raised_by_their_figures(tmp_path: Path) -> None:
    """When a count grows, when a run begins with one, and while names are unread; never at 0 or an hour later."""
    tests = write(tmp_path / "tests.yml", RAISED.format(rules=ROOT / "contrib" / "alerts.yml"))
    done = subprocess.run(
        ["promtool", "test", "rules", tests], capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def test_lines_that_were_left_out_are_a_figure_until_they_are_repaired(
    served: Served, tmp_path: Path
) -> None:
    """Those of SEGMENT by their number, and none once a version without them is in force."""
    name = 'upswell_reference_left_out_lines{kind="segment"}'
    served.wait_for_figure(name, 0)
    good = "".join(f"01265450{n:02}\n" for n in range(99)) + "".join(f"{dial}\n" for dial in DIALS)
    write(tmp_path / "segment" / "SEGMENT.csv", f"{good}x1\n", time.time() - 100)
    served.wait_for_figure(name, 1)
    write(tmp_path / "segment" / "SEGMENT.csv", good, time.time() - 99)
    served.wait_for_figure(name, 0)
