"""One remoting client on the command line: `send name=value …` or `consume name=value …`. What it sees goes to standard
output as the lines of the history format, one JSON object a line. A consumer ends when standard input closes.

send:    ns topic group mode=sync,async,oneway,batch,selector count prefix [tag] [size] [gap] [client] [t0]
consume: ns topic group [tags] [order=true] [gap] [client] [t0]

The C++ library below crashes when its objects are collected at exit: they are kept in LIVE, and the end is os._exit.
"""
import itertools
import json
import os
import sys
import threading
import time

from rocketmq.client import Message, Producer, PushConsumer, SendStatus

OPTIONS = dict(pair.split("=", 1) for pair in sys.argv[2:])
CALLS = itertools.count(1)
OUT = threading.Lock()
LIVE = []


def option(name, otherwise):
    return OPTIONS.get(name, otherwise)


def line(op, kind, call, **rest):
    record = {"t": 0.0, "client": option("client", "python"), "op": op, "type": kind, "call": call}
    record.update(rest)
    with OUT:
        record["t"] = time.time() * 1000 - float(option("t0", "0"))
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


def key_of(n):
    return "%s-%d" % (option("prefix", "m"), n)


def message(n):
    body = key_of(n) + "|"
    while len(body) < int(option("size", "100")):
        body += chr(ord("a") + (len(body) + n) % 26)
    made = Message(option("topic", ""))
    made.set_keys(key_of(n))
    tags = option("tag", "")
    if tags:
        every = tags.split(",")
        made.set_tags(every[n % len(every)])
    made.set_body(body)
    LIVE.append(made)
    return made


def invoked(n):
    call = next(CALLS)
    line("send", "invoke", call, topic=option("topic", ""), key=key_of(n))
    return call


def stored(call, result, at=0):
    kind = "ok" if result.status == SendStatus.OK else "info"
    line("send", kind, call, offset=result.offset + at, status=int(result.status), msg_id=result.msg_id)


def attempt(call, send):
    """Sends and records what came back; any error leaves the outcome unknown."""
    try:
        result = send()
        if result is None:
            line("send", "info", call, oneway=True)
        else:
            stored(call, result)
    except Exception as error:  # pylint: disable=broad-except
        line("send", "info", call, error=str(error).split("\n")[0])


def send():
    producer = Producer(option("group", "P_TESTS"), timeout=5000)
    LIVE.append(producer)
    producer.set_namesrv_addr(option("ns", ""))
    producer.start()
    # 10 ms after the start the library renews its table of routes: a send that looks into it just then finds nothing.
    time.sleep(0.2)
    modes, prefix = option("mode", "sync").split(","), option("prefix", "m")
    for mode in modes:
        OPTIONS["mode"] = mode
        OPTIONS["prefix"] = prefix + "-" + mode if len(modes) > 1 else prefix
        send_mode(producer, int(option("count", "10")), mode)


def send_mode(producer, count, mode):
    if mode == "async":
        send_async(producer, count)
    elif mode == "batch":
        send_batches(producer, count)
    else:
        for n in range(count):
            made, call = message(n), invoked(n)
            if mode == "oneway":
                attempt(call, lambda: producer.send_oneway(made))
            elif mode == "selector":
                attempt(call, lambda: producer.send_orderly(made, n % 3))
            else:
                attempt(call, lambda: producer.send_sync(made))
            time.sleep(float(option("gap", "0")) / 1000)
    if mode == "oneway":
        time.sleep(0.5)


def send_async(producer, count):
    done = threading.Semaphore(0)
    for n in range(count):
        made, call = message(n), invoked(n)

        def succeeded(result, call=call):
            stored(call, result)
            done.release()

        def failed(error, call=call):
            line("send", "info", call, error=str(error).split("\n")[0])
            done.release()

        producer.send_async(made, succeeded, failed)
    for _ in range(count):
        if not done.acquire(timeout=20):
            return


def send_batches(producer, count):
    for start in range(0, count, 10):
        numbers = range(start, min(count, start + 10))
        batch = [message(n) for n in numbers]
        calls = [invoked(n) for n in numbers]
        try:
            result = producer.send_batch(batch)
            for at, call in enumerate(calls):
                stored(call, result, at)
        except Exception as error:  # pylint: disable=broad-except
            for call in calls:
                line("send", "info", call, error=str(error).split("\n")[0])


def text(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def delivered(message):
    call = next(CALLS)
    body = text(message.body)
    line("deliver", "invoke", call, group=option("group", "C_TESTS"), topic=message.topic, queue=message.queue_id,
         offset=message.queue_offset, key=body.split("|")[0], attempt=message.reconsume_times, keys=text(message.keys),
         tag=text(message.tags), size=len(body), id=message.id)
    time.sleep(float(option("gap", "0")) / 1000)
    line("deliver", "ok", call)


def consume():
    consumer = PushConsumer(option("group", "C_TESTS"), orderly=option("order", "false") == "true")
    LIVE.append(consumer)
    consumer.set_namesrv_addr(option("ns", ""))
    consumer.set_instance_name("%s%d" % (option("client", "python"), os.getpid()))
    consumer.set_thread_count(2)
    consumer.subscribe(option("topic", ""), delivered, option("tags", "*"))
    consumer.start()
    line("started", "ok", 0)
    sys.stdin.read()
    consumer.shutdown()
    line("stopped", "ok", 0)


(send if sys.argv[1] == "send" else consume)()
sys.stdout.flush()
os._exit(0)
