"""For developers: embedded Valkey and Kafka, the `headworks` command, and the demo."""
