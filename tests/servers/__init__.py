"""Real servers for the tests: PostgreSQL, MariaDB, Redis and RabbitMQ, on free ports of 127.0.0.1.

Each is started when first asked for. A test may stop, start and suspend them; data are kept.
"""

import os
import pwd
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import trustme
from mirakuru import TCPExecutor
from mirakuru.exceptions import ProcessFinishedWithError
from pytest_postgresql.factories import postgresql_proc as postgresql_factory
from pytest_rabbitmq.factories.executor import RabbitMqExecutor
from pytest_redis.factories import redis_proc as redis_factory

from tests.processes import run, running, wait_until

__all__ = [
    "PG_CTL",
    "Certificates",
    "RabbitMQ",
    "certificates",
    "children",
    "free_port",
    "killed",
    "make_postgresql",
    "mariadb_proc",
    "pgbouncer_port",
    "pid_of_postgresql",
    "postgresql_proc",
    "rabbitmq_cluster",
    "rabbitmq_proc",
    "redis_proc",
    "redis_tls_url",
    "stopped",
    "suspended",
]

_SBIN = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])

# Debian's own rabbitmq-server would change to user rabbitmq, whom our folders don't belong to.
_RABBITMQ_BIN = os.pathsep.join(["/usr/lib/rabbitmq/bin", os.environ["PATH"], "/usr/sbin"])


@contextmanager
def stopped(server: TCPExecutor, how: signal.Signals | None = None) -> Iterator[None]:
    """Within it the server is away: stopped, or ended by the signal ``how``."""
    server.stop(stop_signal=how, expected_returncode=-how) if how else server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def killed(postgresql: TCPExecutor) -> Iterator[None]:
    """Within it PostgreSQL is away: all of its processes were ended in the middle of whatever they were at."""
    main = pid_of_postgresql(postgresql)
    os.kill(main, signal.SIGSTOP)  # so that it starts none in the place of another
    processes = [main, *children(main)]
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    wait_until(lambda: not any(map(_is_alive, processes)), "PostgreSQL has ended")
    with suppress(ProcessFinishedWithError):
        # of what started it, which ended long ago; by its own way it would be asked to stop
        TCPExecutor.stop(postgresql)
    try:
        yield
    finally:
        postgresql.start()


def pid_of_postgresql(postgresql: TCPExecutor) -> int:
    """Its main process; what started it ended long ago."""
    folder = Path(postgresql.datadir)  # type: ignore[attr-defined]
    return int((folder / "postmaster.pid").read_text().split()[0])


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    """The processes that a process has started, or forked, itself."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def suspended(server: TCPExecutor) -> Iterator[None]:
    """Within it the server hangs: connections are taken, and nothing is answered."""
    assert server.process, "not started"
    group = server.process.pid
    os.killpg(group, signal.SIGSTOP)
    try:
        wait_until(lambda: _thread_states(group) <= {"T", "Z"}, f"all threads of {server} stand still")
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


def _thread_states(group: int) -> set[str]:
    """The states, as proc(5) has them, of all threads of a process group."""
    states = set()
    for stat in Path("/proc").glob("[0-9]*/task/*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            state, _, its_group, *_ = stat.read_text().rpartition(") ")[2].split()
            if int(its_group) == group:
                states.add(state)
    return states


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


#: pg_ctl; root has user postgres run it, as PostgreSQL refuses to run as root.
PG_CTL = str(
    Path(__file__).parent / "pg_ctl_as_postgres"
    if os.geteuid() == 0
    else max(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[4]), default="pg_ctl")
)


def make_postgresql(options: str = "") -> Any:
    """The fixture of a PostgreSQL, which doesn't wait for the disk unless the options of its server say so."""
    return postgresql_factory(
        executable=PG_CTL,
        port=None,
        unixsocketdir="/tmp",
        postgres_options=options,
    )


postgresql_proc = make_postgresql()


@pytest.fixture
def pgbouncer_port(tmp_path: Path, postgresql_proc: TCPExecutor) -> Iterator[int]:
    """A port where PostgreSQL is reached through pgbouncer, which has a transaction get any of its few sessions."""
    config = tmp_path / "pgbouncer.ini"
    config.write_text(
        "[databases]\n"
        f"* = host=127.0.0.1 port={postgresql_proc.port} user=postgres\n"
        "[pgbouncer]\n"
        "listen_addr = 127.0.0.1\n"
        f"listen_port = {(port := free_port())}\n"
        "unix_socket_dir =\n"
        "auth_type = any\n"
        "pool_mode = transaction\n"
        "default_pool_size = 3\n"
    )
    # As root it refuses to run, as PostgreSQL does.
    command = ["pgbouncer", *(["--user=postgres"] if os.geteuid() == 0 else []), str(config)]
    with running(command, "process up", tmp_path / "pgbouncer.log", {**os.environ, "PATH": _SBIN}):
        yield port


redis_proc = redis_factory(port=(20000, 25000))


@dataclass(frozen=True)
class Certificates:
    """Files with certificates: an authority's, and those with their keys that it gave to a server and a client."""

    authority: Path
    server: Path
    client: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The server is 127.0.0.1, the client guest."""
    folder = tmp_path_factory.mktemp("certificates")
    found = Certificates(*(folder / f"{name}.pem" for name in ("authority", "server", "client")))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(found.authority))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(found.server))
    client = authority.issue_cert("guest@localhost", common_name="guest")
    client.private_key_and_cert_chain_pem.write_to_path(str(found.client))
    return found


@pytest.fixture
def redis_tls_url(tmp_path: Path, certificates: Certificates) -> Iterator[str]:
    """URL of a Redis that lets in who has a certificate, with the client's."""
    authority, server, client = certificates.authority, certificates.server, certificates.client
    command = ["redis-server", "--port", "0", "--tls-port", str(port := free_port()), "--dir", str(tmp_path)]
    command += ["--tls-cert-file", str(server), "--tls-key-file", str(server), "--tls-ca-cert-file", str(authority)]
    options = {"ssl_ca_certs": authority, "ssl_certfile": client, "ssl_keyfile": client, "ssl_cert_reqs": "required"}
    with running(command, "Ready to accept connections", tmp_path / "redis.log", os.environ):
        yield f"rediss://127.0.0.1:{port}/0?{urlencode(options)}"


class RabbitMQ(RabbitMqExecutor):
    """A node. Those with one ``epmd_port``, Erlang's port mapper, may become a cluster, and meet no others."""

    tls_port: int

    def __init__(
        self, folder: Path, epmd_port: int, config: str = "", plugin: str = "rabbitmq_auth_mechanism_ssl"
    ) -> None:
        (folder / "plugins").write_text(f"[{plugin}].\n")
        (folder / "rabbitmq.conf").write_text(config)
        self._env = {
            "PATH": _RABBITMQ_BIN,
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-setcookie tests",
            "RABBITMQ_CTL_ERL_ARGS": "-setcookie tests",
        }
        self.node_name = f"tests-{(port := free_port())}@localhost"
        super().__init__(
            "rabbitmq-server",
            "127.0.0.1",
            port,
            free_port(),
            "rabbitmqctl",
            logpath=folder / "log",
            path=folder,
            plugin_path=folder,
            node_name=self.node_name,
        )

    @contextmanager
    def taking_at_most(self, size: int) -> Iterator[None]:
        """Within it it refuses messages of more bytes, on channels that are new."""
        self._set_max_message_size(size)
        try:
            yield
        finally:
            self._set_max_message_size(134_217_728)

    def _set_max_message_size(self, size: int) -> None:
        in_rabbitmq_4 = f"persistent_term:put(max_message_size, {size})"
        self.rabbitctl_output("eval", f"application:set_env(rabbit, max_message_size, {size}), {in_rabbitmq_4}.")

    @property
    def envvars(self) -> dict[str, str]:
        """Its environment."""
        return {**super().envvars, **self._env}


@pytest.fixture(scope="session")
def rabbitmq_proc(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[RabbitMQ]:
    """A RabbitMQ. At its ``tls_port`` it lets in who has a certificate, which may stand for the password, too."""
    config = (
        f"listeners.ssl.1 = 127.0.0.1:{(tls_port := free_port())}\n"
        f"ssl_options.cacertfile = {certificates.authority}\n"
        f"ssl_options.certfile = {certificates.server}\n"
        f"ssl_options.keyfile = {certificates.server}\n"
        "ssl_options.verify = verify_peer\n"
        "ssl_options.fail_if_no_peer_cert = true\n"
        "ssl_cert_login_from = common_name\n"
        "auth_mechanisms.1 = PLAIN\n"
        "auth_mechanisms.2 = AMQPLAIN\n"
        "auth_mechanisms.3 = EXTERNAL\n"
    )
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq"), free_port(), config) as server:
        server.tls_port = tls_port
        yield server


@pytest.fixture(scope="module")
def rabbitmq_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RabbitMQ]]:
    """Three nodes of a cluster."""
    epmd_port, log = free_port(), tmp_path_factory.mktemp("epmd") / "log"
    with ExitStack() as stack:
        # Started by a node, it would end with it, and the others be known to nobody.
        stack.enter_context(running(["epmd", "-address", "127.0.0.1", "-port", str(epmd_port)], "", log, os.environ))
        nodes = [stack.enter_context(RabbitMQ(tmp_path_factory.mktemp("node"), epmd_port)) for _ in range(3)]
        for node in nodes[1:]:
            for command in (["stop_app"], ["reset"], ["join_cluster", nodes[0].node_name], ["start_app"]):
                node.rabbitctl_output(*command)
        yield nodes


@pytest.fixture(scope="session")
def mariadb_proc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TCPExecutor]:
    """A MariaDB with a user ``root`` who needs no password, and a database for each kind of tests.

    It is the MySQL whose ``mysqld`` the environment's MYSQLD names, if it names one.
    """
    folder = tmp_path_factory.mktemp("mariadb")
    data, port = folder / "data", free_port()
    as_us = f"--user={pwd.getpwuid(os.geteuid()).pw_name}"  # else it would change to user mysql
    statements = [
        f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4" for name in ("integration", "acceptance")
    ]
    if mysqld := os.environ.get("MYSQLD"):
        server, install = [mysqld, "--mysqlx=OFF"], [mysqld, "--no-defaults", "--initialize-insecure"]
        statements += [
            "CREATE USER IF NOT EXISTS root@127.0.0.1",
            "GRANT ALL ON *.* TO root@127.0.0.1 WITH GRANT OPTION",
        ]
    else:
        server, install = ["mariadbd"], ["mariadb-install-db", "--no-defaults", "--skip-test-db"]
        install.append("--auth-root-authentication-method=normal")
    (temporary := folder / "tmp").mkdir()  # a server that starts deletes all temporary tables that it finds
    env = {"PATH": _SBIN, "TMPDIR": str(temporary)}
    run([*install, as_us, f"--datadir={data}"], {**os.environ, **env})
    (init := folder / "init.sql").write_text("".join(f"{statement};\n" for statement in statements))
    command = [server[0], "--no-defaults", *server[1:], as_us, f"--datadir={data}", f"--socket={folder / 'socket'}"]
    options = [f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve", f"--log-error={folder / 'log'}"]
    command += [*options, f"--pid-file={folder / 'pid'}", f"--init-file={init}"]
    with TCPExecutor(command, "127.0.0.1", port, timeout=60, cwd=str(folder), envvars=env) as executor:
        yield executor
