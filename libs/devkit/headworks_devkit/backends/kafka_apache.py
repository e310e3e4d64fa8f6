"""Apache Kafka itself: one KRaft broker in one JVM, on free loopback ports with a directory of its own."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from headworks_devkit.backends import KafkaBackend
from headworks_devkit.backends.kafka_jars import KAFKA_VERSION, ensure_jars, find_java
from headworks_devkit.ports import free_ports
from headworks_devkit.processes import Child, child
from headworks_devkit.waiting import wait_until

START_TIMEOUT_S = 60.0
FORMAT_TIMEOUT_S = 60.0
TRIES = 3  # ports that were free a moment ago may be gone
PARTITIONS = 4
JVM_FLAGS = ("-Xms128m", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.partitions={partitions}
auto.create.topics.enable=true
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """What it takes to run Kafka here."""

    java: Path
    jars: Path

    def command(self, main: str, *arguments: str) -> list[str]:
        """How to run one of Kafka's programs."""
        return [str(self.java), *JVM_FLAGS, "-cp", f"{self.jars}/*", main, *arguments]


def find_installation() -> Installation:
    """Java and the jars, fetched if need be (once, some seconds). Blocks. Raises BackendUnavailable."""
    java = find_java()
    return Installation(java, ensure_jars(java))


@asynccontextmanager
async def apache_kafka(
    installation: Installation | None = None, *, second_listener: tuple[int, int] | None = None
) -> AsyncIterator[KafkaBackend]:
    """A running broker that has answered; topics appear when somebody names them, with four partitions.

    `second_listener` is a port to listen on too, and the one that clients of it are told to connect to: a proxy's.
    Raises BackendUnavailable, or ChildFailed when it does not start.
    """
    found = await asyncio.to_thread(find_installation) if installation is None else installation
    home = Path(tempfile.mkdtemp(prefix="headworks-kafka-"))
    try:
        for attempt in range(TRIES):
            port, controller = free_ports(2)
            properties = _write_properties(home, port, controller, second_listener)
            if not attempt:
                await _format(found, home, properties)
            argv = found.command("kafka.Kafka", str(properties))
            async with child("kafka", argv, cwd=home) as broker:
                if not await _ready(broker, port) and attempt + 1 < TRIES:
                    continue
                if not broker.running:
                    raise broker.failed("did not start")
                yield KafkaBackend(f"127.0.0.1:{port}", "apache", f"Apache Kafka {KAFKA_VERSION}", broker.pid)
                return
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _write_properties(home: Path, broker: int, controller: int, second: tuple[int, int] | None) -> Path:
    properties = home / "server.properties"
    text = _PROPERTIES.format(broker=broker, controller=controller, data=home / "data", partitions=PARTITIONS)
    if second is not None:
        for key, port in (("listeners", second[0]), ("advertised.listeners", second[1])):
            text = text.replace(f"\n{key}=", f"\n{key}=SECOND://127.0.0.1:{port},")
        text = text.replace("protocol.map=", "protocol.map=SECOND:PLAINTEXT,")
    properties.write_text(text)
    return properties


async def _format(installation: Installation, home: Path, properties: Path) -> None:
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
    argv = installation.command("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties))
    async with child("kafka format", argv, cwd=home) as formatting:
        try:
            async with asyncio.timeout(FORMAT_TIMEOUT_S):
                code = await formatting.wait()
        except TimeoutError as error:
            raise formatting.failed(f"took longer than {FORMAT_TIMEOUT_S} s") from error
        if code:
            raise formatting.failed(f"ended with {code}")


async def _ready(broker: Child, port: int) -> bool:
    """Whether the broker answers; False when it has ended."""

    async def answers() -> bool:
        return not broker.running or await _has_broker(port)

    try:
        with _quiet_aiokafka():
            await wait_until(answers, START_TIMEOUT_S, what="an answer of the broker", period_s=0.1)
    except TimeoutError as error:
        raise broker.failed(f"did not answer within {START_TIMEOUT_S} s") from error
    return broker.running


async def _has_broker(port: int) -> bool:
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=5000)
        try:
            await admin.start()
            return bool((await admin.describe_cluster())["brokers"])
        except KafkaError:
            return False
        finally:
            await admin.close()
    return False


@contextmanager
def _quiet_aiokafka() -> Iterator[None]:
    """It logs every attempt that fails as an error, and here attempts are expected to fail."""
    logger = logging.getLogger("aiokafka")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
