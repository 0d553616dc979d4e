// Renders the invoices of examples/catalog.toml: a worker that jobgate pushes its jobs to.
//
//	RENDER_SECRET=whsec_.. go run .
//
// PORT (9000) is where it listens; RENDER_SECONDS (0) is how long an invoice takes.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// tolerance is how old a request may be: an older one may have been recorded and sent again
	// by somebody.
	tolerance = 5 * time.Minute
	// renderingMax bounds the invoices at once; further ones are asked to come later.
	renderingMax = 8
	// keysMax bounds the jobs that are remembered. A service that must not lose them keeps them
	// in its database, written in the same transaction as what the job does there.
	keysMax = 10_000
	// bodyMax bounds a body: jobgate takes no larger payload.
	bodyMax = 1 << 20
)

// Invoice is the payload, as examples/schemas/invoice.render.json has it.
type Invoice struct {
	AccountID string `json:"account_id"`
	InvoiceID string `json:"invoice_id"`
	Lines     []struct {
		SKU   string `json:"sku"`
		Count int    `json:"count"`
	} `json:"lines"`
}

// Answer is what a job is answered with.
type Answer struct {
	status     int
	said       map[string]any
	retryAfter string
}

func refused(status int, why string) Answer {
	return Answer{status: status, said: map[string]any{"error": why}}
}

// Jobs knows what has become of each job, by its Idempotency-Key: each is done once.
type Jobs struct {
	lock    sync.Mutex
	answers map[string]Answer
	order   []string
	running map[string]bool
}

// Once does the work, unless it was done before or is being done.
func (jobs *Jobs) Once(key string, work func() (Answer, error)) Answer {
	if answer, ok := jobs.begin(key); !ok {
		return answer
	}
	// After a fault of this service, or a panic, the next attempt begins anew.
	defer jobs.end(key)
	answer, err := work()
	if err != nil {
		return refused(http.StatusInternalServerError, err.Error())
	}
	if answer.status != http.StatusOK {
		// What was refused is not remembered: an operator may mend the payload, which then comes
		// under the same key.
		return answer
	}
	jobs.lock.Lock()
	defer jobs.lock.Unlock()
	jobs.answers[key] = answer
	jobs.order = append(jobs.order, key)
	if len(jobs.order) > keysMax {
		delete(jobs.answers, jobs.order[0])
		jobs.order = jobs.order[1:]
	}
	return answer
}

func (jobs *Jobs) begin(key string) (Answer, bool) {
	jobs.lock.Lock()
	defer jobs.lock.Unlock()
	if answer, ok := jobs.answers[key]; ok {
		return answer, false
	}
	if jobs.running[key] {
		return refused(http.StatusConflict, "this job still runs"), false
	}
	if len(jobs.running) >= renderingMax {
		answer := refused(http.StatusServiceUnavailable, "too many invoices at once")
		answer.retryAfter = "1"
		return answer, false
	}
	jobs.running[key] = true
	return Answer{}, true
}

func (jobs *Jobs) end(key string) {
	jobs.lock.Lock()
	defer jobs.lock.Unlock()
	delete(jobs.running, key)
}

// isSigned checks the headers that Standard Webhooks names.
func isSigned(key []byte, header http.Header, body []byte) bool {
	id, timestamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	// Several, while one secret is being replaced by another.
	for _, given := range strings.Split(header.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(given), []byte(expected)) {
			return true
		}
	}
	return false
}

// render is the work itself.
func render(body []byte, key string, takes time.Duration) (Answer, error) {
	var invoice Invoice
	if err := json.Unmarshal(body, &invoice); err != nil {
		return Answer{}, err
	}
	if len(invoice.Lines) == 0 {
		// It will never work: jobgate makes it a dead letter with this answer in it.
		return refused(http.StatusUnprocessableEntity, "an invoice needs a line"), nil
	}
	time.Sleep(takes)
	fmt.Println("rendered", invoice.AccountID, invoice.InvoiceID, key)
	return Answer{status: http.StatusOK, said: map[string]any{"pages": 1 + len(invoice.Lines)/40}}, nil
}

func write(w http.ResponseWriter, answer Answer) {
	w.Header().Set("Content-Type", "application/json")
	if answer.retryAfter != "" {
		w.Header().Set("Retry-After", answer.retryAfter)
	}
	w.WriteHeader(answer.status)
	_ = json.NewEncoder(w).Encode(answer.said)
}

// setting reads a variable, or what holds where it is not set.
func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func run() error {
	text := strings.TrimPrefix(os.Getenv("RENDER_SECRET"), "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) == 0 {
		return errors.New("RENDER_SECRET must be what jobgate signs with: whsec_ and base64")
	}
	takes, err := time.ParseDuration(setting("RENDER_SECONDS", "0") + "s")
	if err != nil {
		return err
	}
	jobs := &Jobs{answers: map[string]Answer{}, running: map[string]bool{}}
	http.HandleFunc("/render", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMax))
		if err != nil {
			write(w, refused(http.StatusRequestEntityTooLarge, "a body of at most 1 MiB"))
			return
		}
		id := strings.Trim(r.Header.Get("Idempotency-Key"), `"`)
		// The id is signed, the Idempotency-Key is not: both are the job's id.
		if !isSigned(key, r.Header, body) || id != r.Header.Get("webhook-id") {
			write(w, refused(http.StatusUnauthorized, "not signed with the secret, or too old"))
			return
		}
		write(w, jobs.Once(id, func() (Answer, error) { return render(body, id, takes) }))
	})
	listener, err := net.Listen("tcp", "127.0.0.1:"+setting("PORT", "9000"))
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s/render\n", listener.Addr())
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
