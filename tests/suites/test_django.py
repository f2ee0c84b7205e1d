"""Django's own test suite, of the installed version: without the library, and with each of its models registered.

What passes in the control passes with the library, but for what is known to differ: ``KNOWN`` says what, and why.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import django
import pytest

from tests.suites.comparison import INSIDE, assert_same, source

# Labels that write models.
WRITE = """
aggregation annotations async auth_tests basic bulk_create composite_pk constraints contenttypes_tests custom_columns
custom_managers custom_methods custom_pk datatypes defer defer_regress delete delete_regress empty expressions_case
field_defaults field_subclassing fixtures force_insert_update foreign_object from_db_value generic_inline_admin
generic_relations generic_relations_regress get_or_create inline_formsets known_related_objects m2m_and_m2o
m2m_intermediary m2m_multiple m2m_recursive m2m_regress m2m_signals m2m_through m2m_through_regress m2o_recursive
managers_regress many_to_many many_to_one many_to_one_null max_lengths migrate_signals model_fields model_forms
model_formsets model_inheritance model_inheritance_regress model_options model_package model_regress multiple_database
mutually_referential nested_foreign_keys one_to_one order_with_respect_to prefetch_related properties
proxy_model_inheritance proxy_models raw_query reserved_names save_delete_hooks select_for_update select_related
sessions_tests signals sites_tests swappable_models test_client test_utils transaction_hooks transactions
unmanaged_models update update_only_fields validation
"""

# Labels that write few, or take long.
OTHERS = """
admin_changelist admin_filters admin_inlines admin_utils admin_views admin_widgets aggregation_regress backends cache
custom_lookups dates datetimes db_functions db_typecasts distinct_on_fields expressions expressions_window extra_regress
file_storage filtered_relation fixtures_model_package fixtures_regress flatpages_tests forms_tests generic_views
get_earliest_or_latest get_object_or_404 introspection lookup migration_test_data_persistence model_enums
model_formsets_regress model_indexes model_meta model_utils modeladmin null_fk null_fk_ordering null_queries or_lookups
ordering pagination queries queryset_pickle redirects_tests reverse_lookup schema select_related_onetoone
select_related_regress serializers servers shortcuts sitemaps_tests sites_framework str string_lookup syndication_tests
test_client_regress test_runner timezones user_commands view_tests xor_lookups
"""

KNOWN = {
    "A model that has receivers is not deleted by one statement: Django says so. An instance is asked for, too.": """
        delete.tests.DeletionTests.test_bulk
        delete.tests.DeletionTests.test_can_defer_constraint_checks
        delete.tests.DeletionTests.test_large_delete_related
        delete.tests.DeletionTests.test_only_referenced_fields_selected
        delete.tests.DeletionTests.test_proxied_model_duplicate_queries
        delete.tests.FastDeleteTests.test_fast_delete_*
        delete.tests.OnDeleteTests.test_do_nothing_qscount
        delete_regress.tests.DeleteTests.test_self_reference_with_through_m2m_at_second_level
        delete_regress.tests.SetQueryCountTests.test_set_querycount
        delete_regress.tests.Ticket19102Tests.test_ticket_19102_*
    """,
    "The body has the fields, too, that an instance defers, and the many-to-many values: they are asked for.": """
        composite_pk.test_update.CompositePKUpdateTests.test_update_fields_deferred
        update_only_fields.tests.UpdateOnlyFieldsTests.test_num_queries_inheritance
        update_only_fields.tests.UpdateOnlyFieldsTests.test_select_related_only_interaction
        update_only_fields.tests.UpdateOnlyFieldsTests.test_update_fields_*
    """,
    "Rows of bulk writes and of relations are locked, read, and told.": """
        bulk_create.tests.BulkCreateTests.test_large_batch_efficiency
        bulk_create.tests.BulkCreateTests.test_large_batch_mixed_efficiency
        contenttypes_tests.test_order_with_respect_to.OrderWithRespectToGFKTests.test_database_routing
        generic_relations.tests.GenericRelationsTests.test_add_bulk
        many_to_many.tests.ManyToManyTests.test_fast_add_ignore_conflicts
        many_to_one_null.tests.ManyToOneNullTests.test_add_efficiency
        many_to_one_null.tests.ManyToOneNullTests.test_clear_efficiency
        model_inheritance.tests.ModelInheritanceTests.test_update_parent_filtering
        order_with_respect_to.tests.OrderWithRespectToBaseTests.test_database_routing
        proxy_models.tests.ProxyModelTests.test_proxy_update
    """,
    "No database says which rows it has created.": """
        bulk_create.tests.BulkCreateTests.test_ignore_conflicts_ignore
    """,
    "They bypass the library, which is told to refuse that: by SQL, a historical model, or another one's table.": """
        contenttypes_tests.test_models.ContentTypesTests.test_get_for_models_migrations_create_model
        field_defaults.tests.DefaultTests.test_both_default
        unmanaged_models.tests.SimpleTests.test_simple
    """,
    "There are receivers where the test expects none.": """
        signals.tests.SignalTests.test_disconnect_in_dispatch
    """,
    "The outbox's own migrations are among those that run.": """
        migrate_signals.tests.MigrateSignalTests.test_migrations_only
    """,
    "The outbox's statements are logged as any.": """
        backends.base.test_base.DatabaseWrapperLoggingTests.test_commit_debug_log
    """,
    "A field class of the test's own holds what no serializer field of REST framework knows.": """
        custom_pk.tests.CustomPKTests.test_custom_field_pk
        serializers.test_*.*SerializerTestCase.test_custom_field_serialization
    """,
}

if django.VERSION >= (6, 1):
    KNOWN["The same, where rows that point to it are deleted by the database."] = """
        delete.tests.DeletionTests.test_db_cascade
    """

# Whose fields ``manage.py check`` has something against; they are not registered.
UNUSABLE = {"custom_pk.CustomAutoFieldModel"}


def assert_same_as_in_the_control(directory: Path, labels: list[str]) -> None:
    tests = source("django", django.__version__) / "tests"
    existing = [label for label in labels if (tests / label).exists()]

    def of_these(names: Iterable[str]) -> list[str]:
        return [name for name in names if name.partition(".")[0] in existing]

    assert_same(
        directory,
        [sys.executable, INSIDE / "run_django.py", tests, *existing],
        cwd=tests,
        known=of_these(pattern for patterns in KNOWN.values() for pattern in patterns.split()),
        unusable=of_these(UNUSABLE),
    )


@pytest.mark.parametrize("part", range(4))
def test_django__labels_that_write_models__pass_as_in_the_control(tmp_path, part):
    assert_same_as_in_the_control(tmp_path, WRITE.split()[part::4])


@pytest.mark.soak
@pytest.mark.parametrize("part", range(8))
def test_django__other_labels__pass_as_in_the_control(tmp_path, part):
    assert_same_as_in_the_control(tmp_path, OTHERS.split()[part::8])
