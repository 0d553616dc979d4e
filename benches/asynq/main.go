// Command asynq measures Asynq on a Redis of its own with the same payloads as jobgate's
// benchmarks: how many jobs are enqueued and run in a second, at what CPU, and how soon a job
// starts when nothing else runs. `scripts/bench --asynq` runs it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
)

const (
	taskType = "email:verification"
	// As many callers and as many jobs at once as jobgate's load has connections.
	callers     = 64
	concurrency = 64
	// Asynq takes any interval; below this, looking takes all of a core of Redis.
	shortest = time.Millisecond
	// How long Redis may take to start.
	redisDeadline = 10 * time.Second
)

func main() {
	short := flag.Bool("short", false, "only show that it runs")
	flag.Parse()
	jobs, rounds, alone := 100_000, 3, 40
	if *short {
		jobs, rounds, alone = 2_000, 1, 3
	}

	address, redis, stop := startRedis()
	defer stop()
	options := asynq.RedisClientOpt{Addr: address}
	client := asynq.NewClient(options)
	defer client.Close()

	fmt.Print("## Asynq\n\n")
	var enqueued, processed []sample
	var bytesEach int
	for range rounds {
		var latencies []time.Duration
		sending := measure(redis, jobs, func() { latencies = enqueue(client, jobs) })
		sending.p50, sending.p99 = percentile(latencies, 50), percentile(latencies, 99)
		enqueued = append(enqueued, sending)
		bytesEach = memory(address) / jobs

		var server *asynq.Server
		processed = append(processed, measure(redis, jobs, func() { server = process(options, jobs) }))
		server.Shutdown()
	}
	for round := range rounds {
		fmt.Printf("raw round %d: enqueued %+v, processed %+v\n", round, enqueued[round], processed[round])
	}
	fmt.Printf("\n%d jobs, median of %d rounds each\n\n", jobs, rounds)
	fmt.Println("| | per second | CPU of each, µs | Redis's CPU of each, µs | p50, ms | p99, ms |")
	fmt.Println("|---|---:|---:|---:|---:|---:|")
	show(fmt.Sprintf("enqueued by %d callers", callers), enqueued)
	show(fmt.Sprintf("processed, concurrency %d, no-op handler", concurrency), processed)

	fmt.Printf("\nRoom: %d bytes of Redis's memory for each job that waits.\n", bytesEach)

	fmt.Println("\n| from enqueue to handler, each job alone, ms | p50 | p99 | longest |")
	fmt.Println("|---|---:|---:|---:|")
	for _, interval := range []time.Duration{time.Second, shortest} {
		starts := startsOfLoneJobs(options, client, alone, interval)
		fmt.Printf("| %d jobs, an idle server looks every %s | %.1f | %.1f | %.1f |\n",
			alone, interval, millis(percentile(starts, 50)), millis(percentile(starts, 99)),
			millis(percentile(starts, 100)))
	}
}

// sample is what one measurement saw, each figure of one job.
type sample struct {
	perSecond, cpuMicros, redisMicros float64
	p50, p99                          time.Duration
}

func measure(redis int, jobs int, work func()) sample {
	cpu, redisCPU, begun := cpuTime(os.Getpid()), cpuTime(redis), time.Now()
	work()
	took := time.Since(begun)
	each := func(spent time.Duration) float64 {
		return float64(spent.Microseconds()) / float64(jobs)
	}
	return sample{
		perSecond:   float64(jobs) / took.Seconds(),
		cpuMicros:   each(cpuTime(os.Getpid()) - cpu),
		redisMicros: each(cpuTime(redis) - redisCPU),
	}
}

// enqueue sends jobs from all callers and returns how long each call took.
func enqueue(client *asynq.Client, jobs int) []time.Duration {
	var callersDone sync.WaitGroup
	latencies := make([]time.Duration, jobs)
	for caller := range callers {
		callersDone.Go(func() {
			for at := caller; at < jobs; at += callers {
				begun := time.Now()
				if _, err := client.Enqueue(task()); err != nil {
					log.Fatal(err)
				}
				latencies[at] = time.Since(begun)
			}
		})
	}
	callersDone.Wait()
	return latencies
}

// process runs what was enqueued, to the last job, and leaves the server to be shut down.
func process(options asynq.RedisClientOpt, jobs int) *asynq.Server {
	var ended atomic.Int64
	all := make(chan struct{})
	server := startServer(options, time.Second, func(context.Context, *asynq.Task) error {
		if ended.Add(1) == int64(jobs) {
			close(all)
		}
		return nil
	})
	<-all
	return server
}

// startsOfLoneJobs tells how long jobs take to start that come one by one.
func startsOfLoneJobs(
	options asynq.RedisClientOpt, client *asynq.Client, jobs int, interval time.Duration,
) []time.Duration {
	started := make(chan time.Time)
	server := startServer(options, interval, func(context.Context, *asynq.Task) error {
		started <- time.Now()
		return nil
	})
	defer server.Shutdown()
	took := make([]time.Duration, 0, jobs)
	for range jobs {
		// At any moment between two looks into the queue.
		time.Sleep(time.Duration(rand.Int64N(int64(time.Second))))
		begun := time.Now()
		if _, err := client.Enqueue(task()); err != nil {
			log.Fatal(err)
		}
		took = append(took, (<-started).Sub(begun))
	}
	return took
}

// startServer starts one that looks so often for jobs when it is idle; a second is the default.
func startServer(
	options asynq.RedisClientOpt, interval time.Duration, handler asynq.HandlerFunc,
) *asynq.Server {
	config := asynq.Config{
		Concurrency: concurrency, LogLevel: asynq.ErrorLevel, TaskCheckInterval: interval,
	}
	server := asynq.NewServer(options, config)
	if err := server.Start(handler); err != nil {
		log.Fatal(err)
	}
	return server
}

// task is a verification mail to a user of its own; its payload has about 300 bytes.
func task() *asynq.Task {
	payload, err := json.Marshal(map[string]any{
		"campaign_id": "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11",
		"user_id":     uuid.NewString(),
		"template_data": map[string]string{
			"email":             "ada@example.com",
			"first_name":        "Ada",
			"verification_link": "https://example.com/verify/" + uuid.NewString() + uuid.NewString(),
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	return asynq.NewTask(taskType, payload)
}

// startRedis starts a server that ends with this process.
func startRedis() (address string, pid int, stop func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	address = listener.Addr().String()
	listener.Close()
	folder, err := os.MkdirTemp("", "redis")
	if err != nil {
		log.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	// Appended to a file at once, which is synced each second: the setting meant for production.
	redis := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", folder,
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
	redis.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	// The signal comes at the end of the thread that started it.
	runtime.LockOSThread()
	if err := redis.Start(); err != nil {
		log.Fatal(err)
	}
	stop = func() {
		redis.Process.Signal(syscall.SIGTERM)
		redis.Wait()
		os.RemoveAll(folder)
	}
	for begun := time.Now(); ; time.Sleep(25 * time.Millisecond) {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			connection.Close()
			return address, redis.Process.Pid, stop
		}
		if time.Since(begun) > redisDeadline {
			stop()
			log.Fatal(err)
		}
	}
}

// memory is what Redis uses, bytes.
func memory(address string) int {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprint(connection, "INFO memory\r\n")
	for lines := bufio.NewScanner(connection); lines.Scan(); {
		if text, found := strings.CutPrefix(lines.Text(), "used_memory:"); found {
			if bytes, err := strconv.Atoi(text); err == nil {
				return bytes
			}
		}
	}
	log.Fatal("Redis does not say how much memory it uses")
	return 0
}

// cpuTime is what all threads of a process have taken, in user and kernel.
func cpuTime(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		log.Fatal(err)
	}
	// The name comes first, in brackets, and may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] {
		count, err := strconv.Atoi(field)
		if err != nil {
			log.Fatal(err)
		}
		ticks += count
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func show(name string, rounds []sample) {
	middle := func(figure func(sample) float64) float64 {
		var figures []float64
		for _, round := range rounds {
			figures = append(figures, figure(round))
		}
		slices.Sort(figures)
		return figures[len(figures)/2]
	}
	fmt.Printf("| %s | %.0f | %.1f | %.1f | %.1f | %.1f |\n", name,
		middle(func(s sample) float64 { return s.perSecond }),
		middle(func(s sample) float64 { return s.cpuMicros }),
		middle(func(s sample) float64 { return s.redisMicros }),
		middle(func(s sample) float64 { return millis(s.p50) }),
		middle(func(s sample) float64 { return millis(s.p99) }))
}

func percentile(took []time.Duration, percent int) time.Duration {
	if len(took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(took))
	return sorted[(len(sorted)-1)*percent/100]
}

func millis(took time.Duration) float64 {
	return float64(took.Microseconds()) / 1000
}
