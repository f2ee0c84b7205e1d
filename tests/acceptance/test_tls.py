"""TLS on both brokers, which let in only who has a certificate."""

import json
import ssl

import pytest

from tests.processes import wait_until

SAVES = """
for number in range(20):
    Product.objects.create(name=number, price=1)
"""


@pytest.fixture
def amqp_ssl(certificates):
    """As AMQP_SSL of NAMEKO_CONFIG, by which the host's name is compared with its certificate."""
    authority, client = str(certificates.authority), str(certificates.client)
    options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": authority, "certfile": client, "keyfile": client}
    return {**options, "server_hostname": None}


@pytest.mark.parametrize(
    ("delivery", "user", "login_method"),
    [
        ("outbox", "guest:guest@", "PLAIN"),
        ("direct", "", "EXTERNAL"),
        pytest.param("outbox", "", "EXTERNAL", marks=pytest.mark.soak),
        pytest.param("direct", "guest:guest@", "PLAIN", marks=pytest.mark.soak),
    ],
)
def test_brokers__that_ask_for_certificates__events_arrive(
    shop, rabbitmq_proc, redis_tls_url, amqp_ssl, delivery, user, login_method
):
    """At once, by wake-ups; EXTERNAL has the certificate stand for user and password. Control: without it, none."""
    shop.system.configure(DELIVERY=delivery, SWEEP_INTERVAL=60)
    shop.system.env["REDIS_URL"] = redis_tls_url
    uri = {"AMQP_URI": f"amqps://{user}127.0.0.1:{rabbitmq_proc.tls_port}/"}
    shop.system.worker_env["NAMEKO_CONFIG"] = json.dumps({**uri, "AMQP_SSL": amqp_ssl, "LOGIN_METHOD": login_method})
    with shop.system.worker():
        shop.system.django(SAVES)
        wait_until(lambda: shop.arrived() == 20, "all events", within=20)
    amqp_ssl.pop("certfile")
    shop.system.worker_env["NAMEKO_CONFIG"] = json.dumps({**uri, "AMQP_SSL": amqp_ssl, "LOGIN_METHOD": login_method})
    with shop.system.worker(name="without"):
        shop.system.django(SAVES)
        wait_until(lambda: "AMQP_SSL" in shop.system.log("without").read_text(), "it is told why")
        assert shop.arrived() == 20
