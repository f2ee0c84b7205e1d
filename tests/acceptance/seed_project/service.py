from nameko.events import event_handler


class Service:
    name = "listener"

    @event_handler("service_name", "model1__created")
    def model1_created(self, data):
        print("handled model1__created", data, flush=True)

    @event_handler("service_name", "model1__updated")
    def model1_updated(self, data):
        print("handled model1__updated", data, flush=True)

    @event_handler("service_name", "model1__deleted")
    def model1_deleted(self, data):
        print("handled model1__deleted", data, flush=True)

    @event_handler("service_name", "model2__created")
    def model2_created(self, data):
        print("handled model2__created", data, flush=True)

    @event_handler("service_name", "model_with_status__started")
    def started(self, data):
        print("handled model_with_status__started", data, flush=True)

    @event_handler("service_name", "model_with_status__finished")
    def finished(self, data):
        print("handled model_with_status__finished", data, flush=True)

    @event_handler("service_name", "model_with_status__deleted")
    def deleted(self, data):
        print("handled model_with_status__deleted", data, flush=True)
