"""How often the dashboard asks Kafka."""

import socket
import threading

import pytest

from consumer.dashboard.kafka_view import KafkaView
from consumer.errors import StreamUnavailable
from consumer.settings.load import load_settings
from policy_state.store.redis.store import RedisStore


def test_a_kafka_that_does_not_answer_is_not_asked_again_for_each_page() -> None:
    """All pages get the same reason at once, instead of waiting for Kafka one behind the other."""
    came: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                came.append("a client")
                client.close()

        threading.Thread(target=hang_up, daemon=True).start()
        servers = f"127.0.0.1:{server.getsockname()[1]}"
        options = {"kafka.bootstrap_servers": servers, "kafka.request_timeout_s": 0.2}
        settings = load_settings(options=options)
        view = KafkaView(settings, RedisStore("redis://127.0.0.1:1"), asked=True)
        with pytest.raises(StreamUnavailable) as first:
            view.dead_letters()
        asked = len(came)
        with pytest.raises(StreamUnavailable) as again:
            view.dead_letters()
        assert str(again.value) == str(first.value)
        assert len(came) == asked > 0
        server.shutdown(socket.SHUT_RDWR)
