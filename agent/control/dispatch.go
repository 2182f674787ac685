package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Caller is who has an operation carried out.
type Caller struct {
	Name    string // of an account or a token; "uid 0" over the socket
	Role    Role
	Address string // where from; empty over the socket
	uid     *int32 // over the socket
}

// roles in order: each may do what those before it may.
var roles = []Role{Viewer, Operator, Admin}

// Valid reports whether there is such a role.
func (r Role) Valid() bool { return slices.Contains(roles, r) }

// May reports whether somebody of a role may have done what asks for needed.
func (r Role) May(needed Role) bool {
	return r.Valid() && slices.Index(roles, r) >= slices.Index(roles, needed)
}

// Dispatcher carries operations out for those who may have them, and notes orders
// with who gave them. Its methods may be called from any goroutine.
type Dispatcher struct {
	handlers func() []Handler
	log      *slog.Logger
	note     func(Order)
}

// NewDispatcher calls handlers for each operation, since parts come and go: one
// without a handler is answered with 503. note is given each order; nil: it is only
// logged.
func NewDispatcher(handlers func() []Handler, log *slog.Logger, note func(Order)) *Dispatcher {
	return &Dispatcher{handlers: handlers, log: log, note: note}
}

// Ask has an operation carried out by this process.
func Ask[Req, Resp any](ctx context.Context, d *Dispatcher, c Caller, o Operation[Req, Resp], req Req) (out Resp, err error) {
	v, err := d.Do(ctx, c, o.Info(), &req)
	if err != nil {
		return out, err
	}
	return v.(Resp), nil
}

// AskStream passes the items of a stream to emit, as CallStream does.
func AskStream[Req, Item any](ctx context.Context, d *Dispatcher, c Caller, s Stream[Req, Item], req Req, emit func(Item) error) error {
	to := &direct{each: func(v any) error { return emit(v.(Item)) }}
	return d.carryOut(ctx, c, s.Info(), &req, to)
}

// Do has any operation that is a call carried out by this process. req points to its
// request.
func (d *Dispatcher) Do(ctx context.Context, c Caller, op Info, req any) (any, error) {
	to := &direct{}
	err := d.carryOut(ctx, c, op, req, to)
	return to.value, err
}

// Routes are those of all operations over HTTP, whether a handler is there now or
// not. who tells who asks; its error is the answer.
func (d *Dispatcher) Routes(prefix string, who func(*http.Request) (Caller, error)) http.Handler {
	mux := http.NewServeMux()
	for _, decl := range Operations() {
		op := decl.Info()
		mux.HandleFunc(op.Method+" "+prefix+op.Path, func(w http.ResponseWriter, r *http.Request) {
			to := &answer{w: w}
			if err := d.serve(op, r, who, to); err != nil {
				to.fail(err)
			}
		})
	}
	return mux
}

func (d *Dispatcher) serve(op Info, r *http.Request, who func(*http.Request) (Caller, error), to *answer) error {
	c, err := who(r)
	if err != nil {
		return err
	}
	if err := permit(c, op); err != nil { // before anything is read
		d.noteOrder(op, c, targetOf(op, r.PathValue), nil, err)
		return err
	}
	req, err := decode(op, to.w, r)
	if err != nil {
		d.noteOrder(op, c, targetOf(op, r.PathValue), nil, err)
		return err
	}
	return d.carryOut(r.Context(), c, op, req, to)
}

func permit(c Caller, op Info) error {
	if c.Role.May(op.Role) {
		return nil
	}
	return &Error{Code: http.StatusForbidden, Message: fmt.Sprintf("%s is for the role %s, you are %s", op.ID, op.Role, c.Role)}
}

func (d *Dispatcher) carryOut(ctx context.Context, c Caller, op Info, req any, to sink) error {
	w := &recorded{sink: to}
	err := permit(c, op)
	if err == nil {
		err = d.handle(ctx, op, req, w)
	}
	d.noteOrder(op, c, targetIn(op, req), w.value, err)
	return err
}

func (d *Dispatcher) handle(ctx context.Context, op Info, req any, to sink) error {
	for _, h := range d.handlers() {
		if h.Operation.ID == op.ID {
			return h.serve(ctx, req, to)
		}
	}
	return unavailable(op, "the part that answers it is off or starting, see sae-agent status")
}

// target is a parameter of the path: what an order is about.
type target struct{ name, value string }

func targetOf(op Info, value func(string) string) (out []target) {
	for _, p := range parameters(op.Request, "path") {
		out = append(out, target{p.name, value(p.name)})
	}
	return out
}

func targetIn(op Info, req any) (out []target) {
	v := reflect.ValueOf(req).Elem()
	for _, p := range parameters(op.Request, "path") {
		out = append(out, target{p.name, formatParameter(v.Field(p.field))})
	}
	return out
}

// noteOrder logs an order with the one who gave it; a query is not noted.
func (d *Dispatcher) noteOrder(op Info, c Caller, about []target, result any, err error) {
	if op.Order == "" {
		return
	}
	l := d.log.With("order", op.Order)
	if c.uid != nil {
		l = l.With("uid", *c.uid) // -1: the kernel does not say
	} else {
		l = l.With("by", c.Name, "from", c.Address)
	}
	o := Order{At: time.Now(), By: c.Name, From: c.Address, Order: op.Order}
	var subjects []string
	for _, t := range about {
		l = l.With(t.name, t.value)
		subjects = append(subjects, t.value)
	}
	o.About = strings.Join(subjects, " ")
	if p, ok := result.(Plan); ok && err == nil {
		o.Changes = p.Config
	}
	if err != nil {
		o.Error = err.Error()
		l.Warn("operator's order failed", "err", err)
	} else {
		l.Info(orderDone)
	}
	d.keep(o)
}

const orderDone = "operator's order carried out"

// keep hands an order to who remembers orders.
func (d *Dispatcher) keep(o Order) {
	if d.note != nil {
		d.note(o)
	}
}

// Note notes what somebody has done that is no operation, since it concerns their own account alone.
func (d *Dispatcher) Note(c Caller, order, about string) {
	d.log.Info(orderDone, "order", order, "by", c.Name, "from", c.Address, "about", about)
	d.keep(Order{At: time.Now(), By: c.Name, From: c.Address, Order: order, About: about})
}

// recorded keeps the value of a call's answer.
type recorded struct {
	sink
	value any
}

func (w *recorded) json(v any) error {
	w.value = v
	return w.sink.json(v)
}

// direct takes an answer without HTTP.
type direct struct {
	value any
	each  func(any) error
}

var errNotHere = errors.New("this operation is only answered over HTTP")

func (d *direct) json(v any) error { d.value = v; return nil }

func (d *direct) item(v any) error {
	if d.each == nil {
		return errNotHere
	}
	return d.each(v)
}

func (d *direct) Write([]byte) (int, error) { return 0, errNotHere }

func (d *direct) flush() error { return errNotHere }
