#!/bin/sh
# Give the users of Kafka around Offramp the rights that each needs, and no more.
#
#   BOOTSTRAP_SERVERS  where Kafka is
#   COMMAND_CONFIG     how kafka-acls.sh logs in: a file of Kafka's client settings (optional)
#   GROUP              kafka.group of the workers
#   INPUTS, OUTPUTS    topics, separated by spaces
#   DEAD_LETTERS, POLICY_TOPIC
#
# Users: offramp-worker runs the workers, offramp-producer writes texts, offramp-reader reads
# predictions in the group offramp-reader, offramp-operator runs `topics init`, `policy rebuild`,
# `dlq list` and `dlq show`, offramp-shadow runs `shadow`. Set WORKER, PRODUCER, READER, OPERATOR or
# SHADOW to use other names.
set -euf
: "${DEAD_LETTERS:=offramp.dead-letters}" "${POLICY_TOPIC:=offramp.policy}"
: "${WORKER:=offramp-worker}" "${PRODUCER:=offramp-producer}"
: "${READER:=offramp-reader}" "${OPERATOR:=offramp-operator}" "${SHADOW:=offramp-shadow}"

topics() { for topic in $1; do printf -- '--topic %s ' "$topic"; done; }

allow() { # USER "OPERATIONS" RESOURCES..
  user=$1
  operations=$(for operation in $2; do printf -- '--operation %s ' "$operation"; done)
  shift 2
  # shellcheck disable=SC2086 # the operations are several words
  "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "$BOOTSTRAP_SERVERS" \
    ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} \
    --add --allow-principal "User:$user" $operations "$@"
}

# shellcheck disable=SC2046 # the topics are several words
{
  allow "$WORKER" "Read Describe" $(topics "$INPUTS") --group "$GROUP"
  allow "$WORKER" "Read Write Describe" $(topics "$OUTPUTS $POLICY_TOPIC")
  allow "$WORKER" "Write Describe" --topic "$DEAD_LETTERS"
  allow "$WORKER" "Write Describe" --transactional-id "$GROUP-" --resource-pattern-type prefixed

  allow "$PRODUCER" "Write Describe" $(topics "$INPUTS")
  allow "$READER" "Read Describe" $(topics "$OUTPUTS") --group "$READER"
  allow "$SHADOW" "Read Describe" $(topics "$INPUTS $OUTPUTS")

  allow "$OPERATOR" "Create Describe DescribeConfigs" $(topics "$INPUTS")
  allow "$OPERATOR" "Create Describe DescribeConfigs Read" \
    $(topics "$OUTPUTS $DEAD_LETTERS $POLICY_TOPIC")
  allow "$OPERATOR" "Describe" --group "$GROUP"
}
