"""Requests that come through a broker: a worker that answers each once, over RabbitMQ and Kafka."""
