// One remoting client on the command line: `send name=value …` or `consume name=value …`. What it sees goes to standard
// output as the lines of the history format, one JSON object a line. A consumer ends when standard input closes.
//
//	send:    ns topic group mode=sync,async,oneway,batch,selector count prefix [tag] [size] [gap] [client] [t0]
//	consume: ns topic group [tags] [order=true] [from=first|last] [gap] [client] [t0]
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

var (
	options = map[string]string{}
	calls   atomic.Int64
	out     sync.Mutex
)

func option(name, otherwise string) string {
	if value, ok := options[name]; ok {
		return value
	}
	return otherwise
}

func number(name string, otherwise int) int {
	value, err := strconv.Atoi(option(name, strconv.Itoa(otherwise)))
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func line(op, kind string, call int64, rest map[string]any) {
	out.Lock()
	defer out.Unlock()
	t0, _ := strconv.ParseInt(option("t0", "0"), 10, 64)
	record := map[string]any{"t": float64(time.Now().UnixMicro())/1000 - float64(t0), "client": option("client", "go"), "op": op, "type": kind, "call": call}
	for name, value := range rest {
		record[name] = value
	}
	text, _ := json.Marshal(record)
	fmt.Println(string(text))
}

func message(n int) *primitive.Message {
	key := fmt.Sprintf("%s-%d", option("prefix", "m"), n)
	body := []byte(key + "|")
	for len(body) < number("size", 100) {
		body = append(body, byte('a'+(len(body)+n)%26))
	}
	m := primitive.NewMessage(option("topic", ""), body).WithKeys([]string{key})
	if tags := option("tag", ""); tags != "" {
		all := strings.Split(tags, ",")
		m = m.WithTag(all[n%len(all)])
	}
	if option("mode", "sync") == "selector" {
		m = m.WithShardingKey(fmt.Sprintf("shard-%d", n%3))
	}
	return m
}

func invoked(m *primitive.Message) int64 {
	call := calls.Add(1)
	line("send", "invoke", call, map[string]any{"topic": m.Topic, "key": m.GetKeys()})
	return call
}

func stored(call int64, at int64, result *primitive.SendResult, err error) {
	if err != nil {
		line("send", "info", call, map[string]any{"error": err.Error()})
		return
	}
	kind := "ok"
	if result.Status != primitive.SendOK {
		kind = "info"
	}
	line("send", kind, call, map[string]any{
		"queue":  fmt.Sprintf("%s:%d", result.MessageQueue.BrokerName, result.MessageQueue.QueueId),
		"offset": result.QueueOffset + at, "status": int(result.Status), "msg_id": result.MsgID, "offset_msg_id": result.OffsetMsgID})
}

func send() {
	modes, prefix := strings.Split(option("mode", "sync"), ","), option("prefix", "m")
	for _, mode := range modes {
		options["mode"] = mode
		if len(modes) > 1 {
			options["prefix"] = prefix + "-" + mode
		}
		sendMode()
	}
}

func sendMode() {
	settings := []producer.Option{producer.WithGroupName(option("group", "P_TESTS")),
		producer.WithNsResolver(primitive.NewPassthroughResolver(strings.Split(option("ns", ""), ";"))),
		producer.WithRetry(2), producer.WithSendMsgTimeout(5 * time.Second)}
	if option("mode", "sync") == "selector" {
		settings = append(settings, producer.WithQueueSelector(producer.NewHashQueueSelector()))
	}
	p, err := rocketmq.NewProducer(settings...)
	check(err)
	check(p.Start())
	count, ctx := number("count", 10), context.Background()
	switch option("mode", "sync") {
	case "async":
		async(ctx, p, count)
	case "oneway":
		for n := 0; n < count; n++ {
			m := message(n)
			call := invoked(m)
			if err := p.SendOneWay(ctx, m); err != nil {
				stored(call, 0, nil, err)
			} else {
				line("send", "info", call, map[string]any{"oneway": true})
			}
		}
		time.Sleep(500 * time.Millisecond)
	case "batch":
		batches(ctx, p, count)
	default:
		for n := 0; n < count; n++ {
			m := message(n)
			call := invoked(m)
			result, err := p.SendSync(ctx, m)
			stored(call, 0, result, err)
			time.Sleep(time.Duration(number("gap", 0)) * time.Millisecond)
		}
	}
	check(p.Shutdown())
}

func async(ctx context.Context, p rocketmq.Producer, count int) {
	var done sync.WaitGroup
	inFlight := make(chan struct{}, 64)
	for n := 0; n < count; n++ {
		m := message(n)
		inFlight <- struct{}{}
		done.Add(1)
		call := invoked(m)
		err := p.SendAsync(ctx, func(_ context.Context, result *primitive.SendResult, err error) {
			stored(call, 0, result, err)
			<-inFlight
			done.Done()
		}, m)
		if err != nil {
			stored(call, 0, nil, err)
			<-inFlight
			done.Done()
		}
	}
	done.Wait()
}

func batches(ctx context.Context, p rocketmq.Producer, count int) {
	for from := 0; from < count; from += 10 {
		var batch []*primitive.Message
		var started []int64
		for n := from; n < min(count, from+10); n++ {
			m := message(n)
			batch = append(batch, m)
			started = append(started, invoked(m))
		}
		result, err := p.SendSync(ctx, batch...)
		for i, call := range started {
			stored(call, int64(i), result, err)
		}
	}
}

func consume() {
	from := consumer.ConsumeFromFirstOffset
	if option("from", "first") == "last" {
		from = consumer.ConsumeFromLastOffset
	}
	c, err := rocketmq.NewPushConsumer(consumer.WithGroupName(option("group", "C_TESTS")),
		consumer.WithNsResolver(primitive.NewPassthroughResolver(strings.Split(option("ns", ""), ";"))),
		consumer.WithConsumeFromWhere(from), consumer.WithConsumerModel(consumer.Clustering),
		consumer.WithConsumerOrder(option("order", "false") == "true"),
		consumer.WithInstance(option("client", "go")+strconv.Itoa(os.Getpid())))
	check(err)
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: option("tags", "*")}
	check(c.Subscribe(option("topic", ""), selector, delivered))
	check(c.Start())
	line("started", "ok", 0, nil)
	_, _ = io.ReadAll(os.Stdin)
	check(c.Shutdown())
	line("stopped", "ok", 0, nil)
}

func delivered(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	for _, m := range messages {
		call := calls.Add(1)
		line("deliver", "invoke", call, map[string]any{"group": option("group", "C_TESTS"), "topic": m.Topic,
			"queue": fmt.Sprintf("%s:%d", m.Queue.BrokerName, m.Queue.QueueId), "offset": m.QueueOffset,
			"key": strings.SplitN(string(m.Body), "|", 2)[0], "attempt": m.ReconsumeTimes, "keys": m.GetKeys(), "tag": m.GetTags(), "size": len(m.Body)})
		time.Sleep(time.Duration(number("gap", 0)) * time.Millisecond)
		line("deliver", "ok", call, nil)
	}
	return consumer.ConsumeSuccess, nil
}

func main() {
	rlog.SetLogLevel("error")
	for _, pair := range os.Args[2:] {
		name, value, _ := strings.Cut(pair, "=")
		options[name] = value
	}
	if os.Args[1] == "send" {
		send()
	} else {
		consume()
	}
}
