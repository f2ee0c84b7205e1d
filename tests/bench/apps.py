from django.apps import AppConfig


class BenchConfig(AppConfig):
    name = "tests.bench"
    label = "bench"

    def ready(self):
        from tests.bench import baselines

        baselines.connect()
