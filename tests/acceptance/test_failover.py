"""A PostgreSQL that fails over to its standby, while several write and workers relay."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import create_database
from tests.acceptance.verdict import Verdict, judge
from tests.processes import run, wait_until
from tests.servers import PG_CTL, free_port


class Node:
    """A PostgreSQL in a folder."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.data = folder / "data"

    def control(self, *command: str) -> None:
        """Run a command of pg_ctl's."""
        run([PG_CTL, *command, "-D", self.data], {"PATH": "/usr/bin:/bin:/usr/sbin"})

    def start(self) -> None:
        options = f"-p {self.port} -c unix_socket_directories='' -c fsync=off"
        self.control("start", "-w", "-l", str(self.data.parent / "log"), "-o", options)

    def end(self) -> None:
        """Without a word to anybody, if it runs."""
        if (self.data / "postmaster.pid").exists():
            self.control("stop", "-m", "immediate")

    def follow(self, primary: "Node") -> None:
        """Be the standby of one that has ended, and will be started."""
        shutil.copytree(primary.data, self.data)
        (self.data / "standby.signal").touch()
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = 'host=127.0.0.1 port={primary.port} user=postgres'\n")

    def execute(self, statement: str) -> list[tuple]:
        address = f"host=127.0.0.1 port={self.port} user=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def pair(tmp_path_factory, shop) -> Iterator[tuple[Node, Node]]:
    """A primary, which is the shop's, and its standby, which has all that is committed."""
    primary, standby = (Node(tmp_path_factory.mktemp(name)) for name in ("primary", "standby"))
    with ExitStack() as stack:
        primary.control("initdb", "-o", "-A trust -E UTF8 -U postgres")
        primary.start()
        shop.system.env |= create_database(primary.port, "shop", "tests.project.settings")
        primary.control("stop")
        standby.follow(primary)
        for node in (primary, standby):
            node.start()
            stack.callback(node.end)
        wait_until(lambda: primary.execute("SELECT 1 FROM pg_stat_replication"), "the standby follows")
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute("SELECT pg_reload_conf()")
        # As a project names them, which takes whichever may be written to.
        shop.system.env |= {"POSTGRES_HOST": "127.0.0.1,127.0.0.1", "POSTGRES_PORT": f"{primary.port},{standby.port}"}
        shop.system.env["PGTARGETSESSIONATTRS"] = "read-write"
        yield primary, standby
        shop.end()


def test_standby__promoted_while_several_write__keeps_the_promise(shop, pair):
    """All that was committed has arrived, and nothing else; of what was on its way, some twice, under its id."""
    primary, standby = pair
    shop.system.configure(MAX_RATE=40)  # so that there is a middle, also where writers are slow
    shop.start_workers("worker-0", "worker-1")
    ledgers = [shop.system.folder / f"{number}.ledger" for number in range(3)]
    with ExitStack() as stack:
        writers = [stack.enter_context(shop.writer(ledger)) for ledger in ledgers]
        wait_until(lambda: shop.arrived() > 300, "some have gone out")
        primary.end()
        standby.control("promote", "-w")
        for writer in writers:
            assert writer.wait(30) != 0  # its session is gone
    for ledger in ledgers:
        shop.learn(ledger)
    assert shop.arrived() < sum(map(len, shop.changes.values()))
    shop.system.configure(MAX_RATE=None)
    shop.start_workers("worker-2")  # or the rest would take long
    with shop.writing():
        pass
    shop.wait_until_drained(within=120)
    assert judge(shop.changes, shop.arrivals()) == Verdict()
