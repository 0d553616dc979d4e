// Enqueues two jobs and publishes an event through jobgate.
//
//	go run .                                   sends the three
//	go run . fraud.detection '{"user_id": 7}'  sends one job of your own
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// TopicUserSignup is where the signup events go. The short name, user.signup, does as well.
const TopicUserSignup = "waitlist.events.user.signup"

const (
	// triesMax bounds how often a request is sent until its outcome is known.
	triesMax = 5
	// waitMax bounds what a Retry-After is obeyed for.
	waitMax = 30 * time.Second
	// timeout of one request; jobgate itself answers within 8 s.
	timeout = 10 * time.Second
	// answerMax bounds the bytes of an answer.
	answerMax = 1 << 20
)

// Receipt says where the record stands. Whoever has one can rely on it: every in-sync
// replica has the record.
type Receipt struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Key       string `json:"key"`
	StatusURL string `json:"status_url"`
}

// Problem is an answer that is no receipt: an RFC 9457 problem document.
type Problem struct {
	Type   string  `json:"type"`
	Title  string  `json:"title"`
	Status int     `json:"status"`
	Detail string  `json:"detail"`
	Errors []Fault `json:"errors"`
	// ID is the id that the record has if it was written, where that is unknown.
	ID string `json:"id"`
}

// Fault is one fault of a payload; jobgate names all of them at once.
type Fault struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

// IsOutcomeUnknown tells whether the record may have been written all the same. Under the same
// key it is written once.
func (p *Problem) IsOutcomeUnknown() bool {
	return p.Status == http.StatusGatewayTimeout
}

func (p *Problem) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d %s: %s", p.Status, p.Title, p.Detail)
	for _, fault := range p.Errors {
		fmt.Fprintf(&text, "\n  %s: %s", fault.Pointer, fault.Detail)
	}
	if p.IsOutcomeUnknown() {
		fmt.Fprintf(&text, "\n  it may be there as %s", p.ID)
	}
	return text.String()
}

// JobClient enqueues jobs and publishes events. It may be used by many goroutines at once.
type JobClient struct {
	baseURL string
	token   string
	http    http.Client
}

// NewJobClient makes a client for jobgate at this URL; without a token for one that serves
// its own machine alone.
func NewJobClient(baseURL, token string) *JobClient {
	return &JobClient{
		baseURL: strings.TrimRight(baseURL, "/"),
		token:   token,
		http:    http.Client{Timeout: timeout},
	}
}

// EmailJobPayload is the payload of the e-mail jobs.
type EmailJobPayload struct {
	// Type is verification, welcome, position-update, reward-earned or milestone.
	Type         string         `json:"type"`
	CampaignID   string         `json:"campaign_id"`
	UserID       string         `json:"user_id"`
	TemplateData map[string]any `json:"template_data"`
}

// EnqueueEmailJob enqueues the mail that the payload's type names.
func (c *JobClient) EnqueueEmailJob(ctx context.Context, payload EmailJobPayload) (Receipt, error) {
	return c.Enqueue(ctx, "email."+payload.Type, payload)
}

// FraudDetectionJobPayload is the payload of fraud.detection.
type FraudDetectionJobPayload struct {
	CampaignID string   `json:"campaign_id"`
	UserID     string   `json:"user_id"`
	CheckTypes []string `json:"check_types"`
}

// EnqueueFraudDetectionJob enqueues a check of one user.
func (c *JobClient) EnqueueFraudDetectionJob(ctx context.Context, payload FraudDetectionJobPayload) (Receipt, error) {
	return c.Enqueue(ctx, "fraud.detection", payload)
}

// Enqueue enqueues a job of any type of GET /catalog.
func (c *JobClient) Enqueue(ctx context.Context, jobType string, payload any) (Receipt, error) {
	return c.post(ctx, "/jobs/"+url.PathEscape(jobType), payload)
}

// Publish publishes an event. Its key follows from the event.
func (c *JobClient) Publish(ctx context.Context, topic string, event any) (Receipt, error) {
	return c.post(ctx, "/events/"+url.PathEscape(topic), event)
}

// post sends the body until its outcome is known, as often as triesMax says. All tries have one
// key, so the record is written once however many of them arrive.
func (c *JobClient) post(ctx context.Context, path string, body any) (Receipt, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return Receipt{}, err
	}
	key := newKey()
	for try := 1; ; try++ {
		receipt, wait, err := c.postOnce(ctx, path, key, data)
		if err == nil || isKnown(err) || try == triesMax {
			return receipt, err
		}
		select {
		case <-ctx.Done():
			return Receipt{}, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// newKey names one request.
func newKey() string {
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		panic(err) // The system has no randomness: nothing can be done.
	}
	return hex.EncodeToString(random[:])
}

// isKnown tells whether sending the request again would say no more than this.
func isKnown(err error) bool {
	var problem *Problem
	if !errors.As(err, &problem) {
		return false
	}
	switch problem.Status {
	case http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false
	}
	return true
}

// postOnce returns the receipt, or an error and how long to wait before the next try.
func (c *JobClient) postOnce(ctx context.Context, path, key string, body []byte) (Receipt, time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.baseURL+path, bytes.NewReader(body))
	if err != nil {
		return Receipt{}, 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", `"`+key+`"`)
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return Receipt{}, time.Second, noAnswer(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, answerMax))
	if err != nil {
		return Receipt{}, time.Second, noAnswer(err)
	}
	if response.StatusCode == http.StatusAccepted || response.StatusCode == http.StatusCreated {
		var receipt Receipt
		if err := json.Unmarshal(answer, &receipt); err != nil {
			return Receipt{}, time.Second, noAnswer(err)
		}
		return receipt, 0, nil
	}
	problem := &Problem{}
	// A proxy in between may answer with something else: its status says enough.
	if json.Unmarshal(answer, problem) != nil || problem.Title == "" {
		problem = &Problem{Title: "not jobgate's answer", Detail: http.StatusText(response.StatusCode)}
	}
	problem.Status = response.StatusCode
	return Receipt{}, retryAfter(response.Header), problem
}

func noAnswer(err error) error {
	return fmt.Errorf("no answer, so it may or may not be there: %w", err)
}

func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.Atoi(header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return time.Second
	}
	if wait := time.Duration(seconds) * time.Second; wait < waitMax {
		return wait
	}
	return waitMax
}

func main() {
	baseURL := os.Getenv("JOBGATE_URL")
	if baseURL == "" {
		baseURL = "http://127.0.0.1:8088"
	}
	jobClient := NewJobClient(baseURL, os.Getenv("JOBGATE_TOKEN"))
	send := sendThree
	if len(os.Args) == 3 {
		send = func(ctx context.Context, jobClient *JobClient) error {
			return report(jobClient.Enqueue(ctx, os.Args[1], json.RawMessage(os.Args[2])))
		}
	}
	if err := send(context.Background(), jobClient); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func sendThree(ctx context.Context, jobClient *JobClient) error {
	campaignID := "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11"
	userID := "3d2e8b74-9c1f-4a6d-b5e0-2f4a6c8e0b22"

	if err := report(jobClient.EnqueueEmailJob(ctx, EmailJobPayload{
		Type:       "verification",
		CampaignID: campaignID,
		UserID:     userID,
		TemplateData: map[string]any{
			"email":             "ada@example.com",
			"verification_link": "https://example.com/verify/1",
		},
	})); err != nil {
		return err
	}
	if err := report(jobClient.EnqueueFraudDetectionJob(ctx, FraudDetectionJobPayload{
		CampaignID: campaignID,
		UserID:     userID,
		CheckTypes: []string{"self_referral", "fake_email", "bot"},
	})); err != nil {
		return err
	}
	return report(jobClient.Publish(ctx, TopicUserSignup, map[string]any{
		"user_id":     userID,
		"campaign_id": campaignID,
		"email":       "ada@example.com",
		"source":      "referral",
		"timestamp":   time.Now(),
	}))
}

func report(receipt Receipt, err error) error {
	if err == nil {
		fmt.Printf("%s %s %s/%d/%d\n",
			receipt.Type, receipt.ID, receipt.Topic, receipt.Partition, receipt.Offset)
	}
	return err
}
