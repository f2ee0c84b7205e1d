"""``manage.py check``: each wrong setting gives its error, with the place and the mend."""

import os
import ssl
import subprocess
import sys
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from rest_framework import serializers

from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery import in_tests
from tests.project.models import Abstract, Article, Club, Comment, Product, Ticket


class TicketLinkSerializer(serializers.HyperlinkedModelSerializer):
    class Meta:
        model = Ticket
        fields = ["url", "kind"]


class CommentLinkSerializer(serializers.ModelSerializer):
    article: Any = serializers.HyperlinkedRelatedField(view_name="article", read_only=True)

    class Meta:
        model = Comment
        fields = ["article"]


class ArticleLinkSerializer(serializers.HyperlinkedModelSerializer):
    class Meta:
        model = Article
        fields = ["url"]


class NestedLinkSerializer(serializers.ModelSerializer):
    article = ArticleLinkSerializer()

    class Meta:
        model = Comment
        fields = ["article"]


class LinklessSerializer(serializers.HyperlinkedModelSerializer):
    class Meta:
        model = Ticket
        fields = ["kind"]


STATUS = "a property"  # what the mend suggests
HYPERLINKED = [TicketLinkSerializer, CommentLinkSerializer, NestedLinkSerializer]


async def asynchronous(instance, action):
    """What no signal can wait for."""


ENTRIES = {
    "not a list": ("project.Product", "E001", "MODELS_CRUD_EVENT", "list of dicts"),
    "not a dict": (["project.Product"], "E001", "MODELS_CRUD_EVENT[0]", "{'model': 'app.Model'}"),
    "no model": ([{"serializer": "x"}], "E001", "MODELS_CRUD_EVENT[0]", "{'model': 'app.Model'}"),
    "empty prefix": ([{"model": Product, "event_name_prefix": ""}], "E001", "['event_name_prefix']", "string"),
    "blank service": ([{"model": Product, "service_name": " "}], "E001", "['service_name'] is ' '", "string"),
    "service with a blank": (
        [{"model": Product, "service_name": "a b"}],
        "W004",
        "['service_name'] is 'a b'",
        "blanks",
    ),
    "unknown key": ([{"model": Product, "serialiser": "x"}], "E002", "'serialiser'", "'serializer'"),
    "unknown model": ([{"model": "project.Prodct"}], "E003", "'project.Prodct'", "'project.Product'"),
    "no app": ([{"model": "Product"}], "E003", "['model'], 'Product'", "'project.Product'"),
    "serializer not there": ([{"model": Product, "serializer": "a.B"}], "E004", "'a.B'", "dotted path"),
    "no serializer": ([{"model": Product, "serializer": "json.loads"}], "E004", "'json.loads'", "dotted path"),
    "abstract": ([{"model": Abstract}], "E011", "project.Abstract is abstract", "derive"),
    "swapped": ([{"model": "project.Swapped"}], "E011", "is swapped for 'project.Product'", "'project.Product'"),
    "automatic through model": ([{"model": "project.Article_products"}], "E011", "many-to-many", "'through'"),
    "same names": (
        [{"model": Product}, {"model": "project.Order", "event_name_prefix": "product"}],
        "E012",
        "MODELS_CRUD_EVENT[1] and MODELS_CRUD_EVENT[0] have the same event names, product__",
        "'event_name_prefix'",
    ),
    "deleted among the states": (
        [{"model": "project.Parcel", "status_field": "status"}],
        "E029",
        "has the choice 'deleted'",
        "'archived' say",
    ),
    "pattern in a prefix": ([{"model": Product, "event_name_prefix": "shop.#"}], "W002", "'shop.#'", "underscores"),
    "hyperlinks": ([{"model": Ticket, "serializer": HYPERLINKED[0]}], "E015", "field 'url'", "keys"),
    "a hyperlink": ([{"model": Comment, "serializer": HYPERLINKED[1]}], "E015", "field 'article'", "keys"),
    "nested hyperlinks": (
        [{"model": Comment, "serializer": HYPERLINKED[2]}],
        "E015",
        "'article.url'",
        "ModelSerializer",
    ),
    "status method": ([{"model": Ticket, "status_field": "state"}], "E005", "Ticket.state is a function", STATUS),
    "status relation": (
        [{"model": Comment, "status_field": "article"}],
        "E005",
        "Comment.article is a rel",
        "a property",
    ),
    "status many": (
        [{"model": Article, "status_field": "products"}],
        "E005",
        "Article.products is a rel",
        "a property",
    ),
    "status reverse": (
        [{"model": Article, "status_field": "comment"}],
        "E005",
        "Article.comment is a rel",
        "a property",
    ),
    "status accessor": (
        [{"model": Article, "status_field": "comment_set"}],
        "E005",
        "comment_set is a Rev",
        "a property",
    ),
    "status manager": ([{"model": Ticket, "status_field": "objects"}], "E005", "objects is a Manager", STATUS),
    "status field": ([{"model": "project.Shipment", "status_field": "state"}], "E005", "'state'", "'status'"),
    "no actions": ([{"model": Product, "actions": []}], "E022", "[0]['actions'] is []", "some of 'created', 'updated'"),
    "actions in a text": ([{"model": Product, "actions": "created"}], "E022", "is 'created'", "a list of some of"),
    "unknown action": ([{"model": Product, "actions": ["create"]}], "E022", "is ['create']", "Did you mean 'created'?"),
    "actions of lists": ([{"model": Product, "actions": [["created"]]}], "E022", "is [['created']]", "created"),
    "bulk writes of a number": ([{"model": Product, "bulk": 1}], "E026", "is 1", "True or False"),
    "lists of a text": ([{"model": Article, "m2m": "products"}], "E027", "is 'products'", "a list"),
    "a list that there is not": ([{"model": Article, "m2m": ["product"]}], "E027", "'product'", "'products'?"),
    "a list of none": ([{"model": Product, "m2m": ["tags"]}], "E027", "'tags'", "none"),
    "a list of its own": ([{"model": Club, "m2m": ["products"]}], "E027", "project.Choice", "Register project.Choice"),
    "tracking of a text": ([{"model": Product, "track_changes": "yes"}], "E025", "is 'yes'", "True or False"),
    "when not there": (
        [{"model": Product, "when": "a.b"}],
        "E023",
        "[0]['when'], 'a.b', cannot be imported",
        "-> bool",
    ),
    "when no function": ([{"model": Product, "when": 7}], "E023", "is a int, and cannot be called", "-> bool"),
    "when async": ([{"model": Product, "when": asynchronous}], "E023", "is async, and nothing awaits it", "-> bool"),
    "when of one": (
        [{"model": Product, "when": "json.loads"}],
        "E023",
        "'json.loads', cannot be called with (instance, action): too many positional arguments",
        "(instance, action)",
    ),
    "context of a list": ([{"model": Product, "serializer_context": []}], "E024", "is a list, and cannot", "a dict"),
    "context not there": ([{"model": Product, "serializer_context": "a.b"}], "E024", "'a.b', cannot be imp", "a dict"),
    "context of an argument": (
        [{"model": Product, "serializer_context": "json.loads"}],
        "E024",
        "cannot be called with (): missing a required argument: 's'",
        "() -> dict",
    ),
    "twice": ([{"model": Product}, {"model": "project.product"}], "E008", "MODELS_CRUD_EVENT[1]", "Remove"),
}

OPTIONS = {
    "unknown option": ({"BATCHSIZE": 1}, "E002", "'BATCHSIZE'", "'BATCH_SIZE'"),
    "lower case": ({"delivery": "direct"}, "E002", "'delivery'", "'DELIVERY'"),
    "delivery": ({"DELIVERY": "pigeon"}, "E009", "['DELIVERY'] is 'pigeon'", "'direct'"),
    "duration": ({"RETRY_BACKOFF": -1}, "E009", "['RETRY_BACKOFF'] is -1", "seconds"),
    "lease": ({"LEASE": 0.5}, "E009", "['LEASE'] is 0.5", "1 second or more"),
    "not a number": ({"RETRY_BACKOFF_MAX": float("nan")}, "E009", "['RETRY_BACKOFF_MAX']", "seconds"),
    "count": ({"MAX_ATTEMPTS": 2.5}, "E009", "['MAX_ATTEMPTS'] is 2.5", "whole number"),
    "size": ({"MAX_PAYLOAD_BYTES": 0}, "E009", "['MAX_PAYLOAD_BYTES'] is 0", "bytes above 0, or None for no bound"),
    "flag": ({"MANDATORY": "yes"}, "E009", "['MANDATORY'] is 'yes'", "True or False"),
    "queue": ({"QUEUE": ""}, "E009", "['QUEUE'] is ''", "Celery queue"),
    "first delay above the longest": (
        {"RETRY_BACKOFF": 600},
        "E009",
        "600 s, is longer than 'RETRY_BACKOFF_MAX', 300",
        "longest",
    ),
    "no dict": ([("DELIVERY", "direct")], "E009", "EVENTS_SOURCING is list", "dict"),
}

URIS = {
    "missing": ("", "not set"),
    "type": (42, "not a string"),
    "no scheme": ("guest:s3cret@localhost", "no scheme"),
    "unknown scheme": ("ampq://guest:s3cret@localhost", "did you mean amqp://"),
    "password as a scheme": ("s3cret://localhost", "no transport for its scheme"),
    "number before a hash": ("amqp://guest:12#s3cret@localhost/", "percent-encoded"),
    "number before a slash": ("amqp://guest:12/s3cret@localhost/", "percent-encoded"),
    "no host": ("amqp://guest:s3cret@/vhost", "no host"),
    "port": ("amqp://guest:s3cret@localhost:port/", "no number"),
    "password with a slash": ("amqp://guest:s3cret/@localhost/", "no number"),
    "bracket": ("amqp://guest:s3cret@[::1/", "bracket"),
    "second of two": ("amqp://guest:guest@one/;ampq://guest:s3cret@two/", "did you mean amqp://"),
}


def messages():
    return [message for message in run_checks(databases=[]) if str(message.id).startswith("django_events_sourcing.")]


def assert_only(code, where, mend):
    (message,) = messages()
    assert message.id == f"django_events_sourcing.{code}"
    assert where in message.msg
    assert mend in message.hint


def test_project__sound_settings__nothing_to_say():
    """The test project's own settings are right."""
    assert messages() == []


@pytest.mark.parametrize("case", ENTRIES)
def test_models__wrong__one_error_names_entry_key_and_mend(settings, case):
    """Each way in which an entry can be wrong gives its own error."""
    settings.MODELS_CRUD_EVENT, *expected = ENTRIES[case]
    assert_only(*expected)


@pytest.mark.parametrize("case", OPTIONS)
def test_options__wrong__one_error_names_key_and_mend(settings, case):
    """So does each wrong option; and at runtime nothing goes on with a default that nobody chose."""
    settings.EVENTS_SOURCING, *expected = OPTIONS[case]
    assert_only(*expected)
    with pytest.raises(ImproperlyConfigured):
        get_settings()


@pytest.mark.parametrize("case", URIS)
def test_amqp_uri__malformed__error_without_the_password(settings, case):
    """A malformed URI is reported, and what may be its password is not."""
    settings.AMQP_URI, expected = URIS[case]
    if case == "missing":
        settings.NAMEKO_CONFIG = {}
    assert_only("E007", expected, "percent-encoded")
    assert "s3cret" not in str(messages())


@pytest.mark.parametrize("case", sorted(URIS.keys() - {"missing", "type", "no host", "no scheme"}))
def test_celerys_broker_url__malformed__error_without_the_password(make_celery_app, case):
    """It is read by kombu as AMQP_URI is."""
    uri, expected = URIS[case]
    make_celery_app(broker=uri)
    assert_only("E016", expected, "percent-encoded")
    assert "s3cret" not in str(messages())


@pytest.mark.parametrize(
    "url", ["redis://a;redis://b", "amqp://", "sqla+sqlite:///x", "redis+socket:///tmp/x", "filesystem://", "memory://"]
)
def test_celerys_broker_url__that_kombu_can_read__nothing_to_say(make_celery_app, url):
    """Of several hosts, none, or no host at all."""
    make_celery_app(broker=url)
    assert messages() == []


@pytest.mark.parametrize(
    "entry",
    [
        {"model": Ticket, "status_field": "kind"},
        {"model": Ticket, "status_field": "stage"},
        {"model": Comment, "status_field": "article_id"},
        {"model": Ticket, "serializer": LinklessSerializer},
    ],
    ids=["field", "property", "key of a relation", "hyperlinked in name only"],
)
def test_entry__right_though_uncommon__no_error(settings, entry):
    """A property may be a status, and so may what a relation stores."""
    settings.MODELS_CRUD_EVENT = [entry]
    assert messages() == []


def test_same_names__at_different_services__no_error(settings):
    """Two services may each have an order."""
    settings.MODELS_CRUD_EVENT = [
        {"model": Product},
        {"model": Ticket, "event_name_prefix": "product", "service_name": "desk"},
    ]
    assert messages() == []


def test_databases__no_autocommit__error(monkeypatch, settings):
    """A project that manages its transactions by hand is warned before its first save fails."""
    from django.db import connections

    settings.EVENTS_SOURCING = {"DELIVERY": "direct"}
    monkeypatch.setitem(connections["other"].settings_dict, "AUTOCOMMIT", False)
    assert_only("E013", "DATABASES['other']['AUTOCOMMIT']", "atomic")


def test_celery__does_not_accept_json__error(make_celery_app):
    """Workers of such a project would throw the events away."""
    app = make_celery_app(broker="memory://")
    app.conf.accept_content = ["pickle"]
    assert_only("E014", "['pickle']", "'json'")
    app.conf.accept_content = ["application/json"]
    assert messages() == []


def test_celery__lacks_the_tasks__error(make_celery_app):
    """A project that keeps only those of its own."""
    app = make_celery_app(broker="memory://")
    assert messages() == []
    app.tasks.pop("django_events_sourcing.relay")
    assert_only("E020", "django_events_sourcing.relay", "registry")


def test_service_name__missing__error_for_each_entry_without(settings):
    """An entry needs a service, its own or the common one."""
    settings.SERVICE_NAME = ""
    settings.MODELS_CRUD_EVENT = [{"model": Product}, {"model": "project.Order", "service_name": "orders"}]
    assert_only("E006", "MODELS_CRUD_EVENT[0]", "SERVICE_NAME")


@pytest.mark.parametrize("name", [7, "  ", ["shop"]])
def test_service_name__that_is_none__error(settings, name):
    settings.SERVICE_NAME = name
    assert_only("E017", f"SERVICE_NAME is {name!r}", "a string with something in it")
    with pytest.raises(ImproperlyConfigured, match="SERVICE_NAME"):
        get_settings()


@pytest.mark.parametrize("name", ["shop ", "my shop", "shop\n"])
def test_service_name__with_blanks__warning(settings, name):
    """It could be meant, and works."""
    settings.SERVICE_NAME = name
    assert_only("W004", f"SERVICE_NAME is {name!r}", "without blanks")
    assert get_settings().service_name == name


@pytest.mark.parametrize("wrong", ["MODEL_CRUD_EVENT", "MODELS_CRUD_EVENTS"])
def test_models_setting__misspelt__warning_names_it(settings, wrong):
    settings.MODELS_CRUD_EVENT = []
    del settings.MODELS_CRUD_EVENT
    setattr(settings, wrong, [{"model": Product}])
    assert_only("W005", "MODELS_CRUD_EVENT is not set, so that no model sends events", f"by {wrong!r}")


def test_models_setting__missing__warning(settings):
    """An app that is installed is to do something; a list that is empty says that it is not."""
    settings.MODELS_CRUD_EVENT = []
    del settings.MODELS_CRUD_EVENT
    assert_only("W005", "MODELS_CRUD_EVENT is not set", "[]")
    settings.MODELS_CRUD_EVENT = []
    assert messages() == []


@pytest.mark.parametrize("right, wrong", [("EVENTS_SOURCING", "EVENT_SOURCING"), ("NAMEKO_CONFIG", "NAMEKO_CONF")])
def test_other_setting__misspelt__warning_names_it(settings, right, wrong):
    setattr(settings, right, {})
    delattr(settings, right)
    settings.AMQP_URI = "amqp://h/"
    assert messages() == []
    setattr(settings, wrong, {})
    assert_only("W005", f"{right} is not set.", f"by {wrong!r}")


def test_option__that_is_a_setting_by_itself__warning(settings):
    """One that says nothing here is somebody else's."""
    settings.QUEUE = {"default": {}}
    assert messages() == []
    settings.DELIVERY = "direct"
    assert_only("W006", "DELIVERY is a setting by itself", "EVENTS_SOURCING = {'DELIVERY': …}")


def test_nameko_serializer__unknown__error(settings):
    """A serializer that nameko would refuse in the worker is reported beforehand."""
    settings.NAMEKO_CONFIG = {**settings.NAMEKO_CONFIG, "serializer": "jsonn"}
    assert_only("E010", "'jsonn'", "SERIALIZERS")


@pytest.mark.parametrize(
    "uri", ["amqps://u:p%2F@h:5671/v", "pyamqp://h", "amqp://a;amqp://b", ["amqp://a", "amqp://b"]]
)
def test_amqp_uri__sound__no_error(settings, uri):
    """TLS and several hosts are fine."""
    settings.AMQP_URI = uri
    assert messages() == []


@pytest.mark.parametrize("tls", [{"cert_reqs": ssl.CERT_NONE}, {"cert_reqs": 0}, {"server_hostname": ""}])
def test_certificates_of_rabbitmq__that_nobody_looks_at__warned(settings, tls):
    """What is not said is safe; so is a context of the project's own, and one name for several hosts."""
    settings.AMQP_URI = "amqps://a;amqps://b"
    settings.NAMEKO_CONFIG = {"AMQP_SSL": tls}
    assert_only("W015", "NAMEKO_CONFIG['AMQP_SSL'] has a", "must be one for the host of AMQP_URI")
    safe: object
    for safe in ({}, True, None, {"server_hostname": None}, {"server_hostname": "rabbit"}, {"context": {}}):
        settings.NAMEKO_CONFIG = {"AMQP_SSL": safe}
        assert messages() == []


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("", "any certificate"),
        ("?ssl_cert_reqs=none", "any certificate"),
        ("?ssl_cert_reqs=required&ssl_check_hostname=false", "a trusted certificate for any host"),
        ("?ssl_cert_reqs=required&ssl_check_hostname=true", None),
        ("?ssl_ca_certs=/ca.pem&ssl_check_hostname=true", None),
    ],
)
def test_certificates_of_redis__that_nobody_looks_at__warned(make_celery_app, query, what, caplog):
    """As with a bare rediss://."""
    make_celery_app(broker=f"rediss://:s3cret@h/0{query}")
    if what:
        assert_only("W016", what, "ssl_check_hostname=true")
    else:
        assert messages() == []
    assert caplog.text == ""


def test_certificates_of_redis__by_celerys_setting__as_by_the_url(make_celery_app):
    """A dict of the same."""
    app = make_celery_app(broker="rediss://h/0", broker_use_ssl={"ssl_cert_reqs": ssl.CERT_NONE})
    assert_only("W016", "any certificate", "CELERY_BROKER_USE_SSL")
    app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    assert messages() == []


VIRTUAL = ["redis://:s3cret@h/0", "sqs://", "filesystem://", "memory://", "sqla+sqlite:///x", "amqp://a;redis://b"]


@pytest.mark.parametrize("uri", VIRTUAL)
def test_amqp_uri__of_no_rabbitmq__error_unless_it_is_meant(settings, uri):
    """Such as that of Celery's broker, pasted: there events would be counted as published, and be nowhere."""
    settings.AMQP_URI = uri
    assert_only("E019", "which is no RabbitMQ", "VIRTUAL_TRANSPORT")
    assert "s3cret" not in str(messages())
    settings.EVENTS_SOURCING = {"VIRTUAL_TRANSPORT": True}
    assert messages() == []


def test_amqp_uri__in_memory__no_error_where_tasks_are_eager(settings, make_celery_app):
    """The process that publishes is the one that reads."""
    settings.AMQP_URI = "memory://"
    make_celery_app(broker="memory://", task_always_eager=True)
    assert messages() == []


def test_amqp_uri__in_memory__no_error_with_a_test_database(settings, monkeypatch):
    """As under a test runner, which makes them."""
    settings.AMQP_URI = "memory://"
    monkeypatch.setattr(in_tests, "_names", {"default": "shop"})
    assert messages() == []


def test_celery__no_app__warning():
    """A project without a Celery app is warned that nobody would publish."""
    code = (
        "import django; from django.conf import settings; settings.configure("
        "INSTALLED_APPS=['django.contrib.contenttypes', 'django.contrib.auth', 'django_events_sourcing'],"
        "SERVICE_NAME='s', AMQP_URI='amqp://localhost/', MODELS_CRUD_EVENT=[{'model': 'auth.User'}]);"
        "django.setup(); from django.core.management import call_command; call_command('check')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "django_events_sourcing.W001" in done.stderr


def test_startup__wrong_entry__logged_as_an_error():
    """Where no checks run, as under WSGI, the log says at start-up that a model is not watched."""
    code = (
        "import django; from django.conf import settings; settings.configure("
        "INSTALLED_APPS=['django.contrib.contenttypes', 'django_events_sourcing'],"
        "MODELS_CRUD_EVENT=[{'model': 'auth.User'}]); django.setup()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'auth.User', is no model of an installed app" in done.stderr


def test_check__of_a_wrong_entry__says_it_once(tmp_path):
    """It is no line of the log, too."""
    (tmp_path / "wrong_settings.py").write_text(
        "SECRET_KEY = 'x'\nSERVICE_NAME = 's'\nAMQP_URI = 'amqp://h/'\n"
        "INSTALLED_APPS = ['django.contrib.contenttypes', 'django_events_sourcing']\n"
        "MODELS_CRUD_EVENT = [{'model': 'auth.User'}]\n"
    )
    (tmp_path / "manage.py").write_text(
        "import sys\nfrom django.core import management\nmanagement.execute_from_command_line(sys.argv)\n"
    )
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "wrong_settings", "PYTHONPATH": str(tmp_path)}
    for command in (["-m", "django"], ["manage.py"]):
        done = subprocess.run(
            [sys.executable, *command, "check"], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.stderr.count("is no model of an installed app") == 1
