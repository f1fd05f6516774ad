import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * One remoting client on the command line: `send name=value …` or `consume name=value …`. What it sees goes to standard
 * output as the lines of the history format, one JSON object a line. It ends when its work is done or standard input closes.
 *
 * send:    ns topic group mode=sync,async,oneway,batch,selector count prefix [tag] [queue] [size] [gap] [client] [t0]
 * consume: ns topic group [tags] [order=true] [from=first|last] [hb] [gap] [client] [t0]
 */
public final class Client {
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    private static final AtomicLong CALLS = new AtomicLong();
    private static final Map<String, String> OPTIONS = new HashMap<>();

    public static void main(String[] args) throws Exception {
        for (String pair : Arrays.asList(args).subList(1, args.length)) {
            int at = pair.indexOf('=');
            OPTIONS.put(pair.substring(0, at), pair.substring(at + 1));
        }
        if (args[0].equals("send")) {
            send();
        } else {
            consume();
        }
        OUT.flush();
        System.exit(0);
    }

    private static String option(String name, String otherwise) {
        return OPTIONS.getOrDefault(name, otherwise);
    }

    private static int number(String name, int otherwise) {
        return Integer.parseInt(option(name, String.valueOf(otherwise)));
    }

    private static String quoted(String text) {
        return text == null ? "null" : '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    private static synchronized void line(String op, String type, long call, String rest) {
        Instant now = Instant.now();
        double t = now.toEpochMilli() - Long.parseLong(option("t0", "0")) + now.getNano() % 1_000_000 / 1e6;
        OUT.println("{\"t\":" + t + ",\"client\":" + quoted(option("client", "java")) + ",\"op\":\"" + op + "\",\"type\":\"" + type
            + "\",\"call\":" + call + rest + "}");
        OUT.flush();
    }

    private static String place(MessageQueue queue) {
        return quoted(queue.getBrokerName() + ":" + queue.getQueueId());
    }

    private static long invoked(String key) {
        long call = CALLS.incrementAndGet();
        line("send", "invoke", call, ",\"topic\":" + quoted(option("topic", "")) + ",\"key\":" + quoted(key));
        return call;
    }

    private static void stored(long call, SendResult result) {
        String type = result.getSendStatus() == SendStatus.SEND_OK ? "ok" : "info";
        line("send", type, call, ",\"queue\":" + place(result.getMessageQueue()) + ",\"offset\":" + result.getQueueOffset()
            + ",\"status\":\"" + result.getSendStatus() + "\",\"msg_id\":" + quoted(result.getMsgId())
            + ",\"offset_msg_id\":" + quoted(result.getOffsetMsgId()));
    }

    private static void unknown(long call, Throwable error) {
        String told = String.valueOf(error.getMessage()).split("\n")[0];
        if (error.getCause() != null) {
            told += ", because: " + String.valueOf(error.getCause().getMessage()).split("\n")[0];
        }
        line("send", "info", call, ",\"error\":" + quoted(told));
    }

    private static Message message(int n) {
        String key = option("prefix", "m") + "-" + n;
        StringBuilder body = new StringBuilder(key).append('|');
        while (body.length() < number("size", 100)) {
            body.append((char) ('a' + (body.length() + n) % 26));
        }
        String tag = option("tag", null);
        if (tag != null) {
            String[] tags = tag.split(",");
            tag = tags[n % tags.length];
        }
        return new Message(option("topic", ""), tag, key, body.toString().getBytes(StandardCharsets.UTF_8));
    }

    private static void send() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(option("group", "P_TESTS"));
        producer.setNamesrvAddr(option("ns", ""));
        producer.setSendMsgTimeout(number("timeout", 15000));
        producer.setMqClientApiTimeout(15000);
        producer.start();
        int count = number("count", 10);
        String prefix = option("prefix", "m");
        String[] modes = option("mode", "sync").split(",");
        for (String mode : modes) {
            OPTIONS.put("mode", mode);
            OPTIONS.put("prefix", modes.length > 1 ? prefix + "-" + mode : prefix);
            switch (mode) {
                case "batch": batches(producer, count); break;
                case "async": async(producer, count); break;
                default: each(producer, count);
            }
        }
        producer.shutdown();
    }

    private static void each(DefaultMQProducer producer, int count) throws Exception {
        int gap = number("gap", 0);
        for (int n = 0; n < count && !finished(gap); n++) {
            Message message = message(n);
            long call = invoked(message.getKeys());
            try {
                if (option("mode", "sync").equals("oneway")) {
                    producer.sendOneway(message);
                    line("send", "info", call, ",\"oneway\":true");
                } else if (option("mode", "sync").equals("selector")) {
                    stored(call, producer.send(message, (queues, it, arg) -> queues.get((Integer) arg % queues.size()), n % 3));
                } else {
                    stored(call, producer.send(message));
                }
            } catch (Exception error) {
                unknown(call, error);
            }
        }
        if (option("mode", "sync").equals("oneway")) {
            Thread.sleep(500);
        }
    }

    private static void async(DefaultMQProducer producer, int count) throws Exception {
        CountDownLatch done = new CountDownLatch(count);
        Semaphore inFlight = new Semaphore(64);
        for (int n = 0; n < count; n++) {
            Message message = message(n);
            inFlight.acquire();
            long call = invoked(message.getKeys());
            producer.send(message, new SendCallback() {
                @Override public void onSuccess(SendResult result) {
                    stored(call, result);
                    inFlight.release();
                    done.countDown();
                }

                @Override public void onException(Throwable error) {
                    unknown(call, error);
                    inFlight.release();
                    done.countDown();
                }
            });
        }
        done.await(60, TimeUnit.SECONDS);
    }

    private static void batches(DefaultMQProducer producer, int count) throws Exception {
        for (int from = 0; from < count; from += 10) {
            List<Message> batch = new ArrayList<>();
            List<Long> calls = new ArrayList<>();
            for (int n = from; n < Math.min(count, from + 10); n++) {
                Message message = message(n);
                batch.add(message);
                calls.add(invoked(message.getKeys()));
            }
            try {
                SendResult result = producer.send(batch);
                long first = result.getQueueOffset();
                for (int i = 0; i < calls.size(); i++) {
                    result.setQueueOffset(first + i);
                    stored(calls.get(i), result);
                }
            } catch (Exception error) {
                calls.forEach(call -> unknown(call, error));
            }
        }
    }

    private static ConsumeFromWhere start() {
        return option("from", "first").equals("first") ? ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET
            : ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET;
    }

    private static void consume() throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(option("group", "C_TESTS"));
        consumer.setNamesrvAddr(option("ns", ""));
        consumer.setConsumeFromWhere(start());
        consumer.setMqClientApiTimeout(15000);
        consumer.setConsumeThreadMin(2);
        consumer.setConsumeThreadMax(2);
        consumer.setHeartbeatBrokerInterval(number("hb", 30000));
        // Without it a shutdown does not wait for a listener that runs, and what that consumes comes again.
        consumer.setAwaitTerminationMillisWhenShutdown(5000);
        consumer.subscribe(option("topic", ""), option("tags", "*"));
        if (option("order", "false").equals("true")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                messages.forEach(Client::delivered);
                return ConsumeOrderlyStatus.SUCCESS;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(Client::delivered);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
        }
        consumer.start();
        line("started", "ok", 0, "");
        while (System.in.read() >= 0) {
            // Runs until the test closes this end.
        }
        consumer.shutdown();
        line("stopped", "ok", 0, "");
    }

    private static void delivered(MessageExt message) {
        String body = new String(message.getBody(), StandardCharsets.UTF_8);
        long call = CALLS.incrementAndGet();
        String queue = quoted(message.getBrokerName() + ":" + message.getQueueId());
        line("deliver", "invoke", call, ",\"group\":" + quoted(option("group", "C_TESTS")) + ",\"topic\":" + quoted(message.getTopic())
            + ",\"queue\":" + queue + ",\"offset\":" + message.getQueueOffset() + ",\"key\":" + quoted(body.split("\\|")[0])
            + ",\"attempt\":" + message.getReconsumeTimes() + ",\"keys\":" + quoted(message.getKeys()) + ",\"tag\":"
            + quoted(message.getTags()) + ",\"size\":" + message.getBody().length);
        finished(number("gap", 0));
        line("deliver", "ok", call, "");
    }

    /** Waits `gap` milliseconds; true when standard input has closed, so that nobody waits for more. */
    private static boolean finished(int gap) {
        try {
            Thread.sleep(gap);
            return false;
        } catch (InterruptedException stop) {
            return true;
        }
    }
}
