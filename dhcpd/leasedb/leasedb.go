package leasedb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/dhcpd"
)

var (
	leasesBucket = []byte("leases")
	metaBucket   = []byte("meta")
)

// Options of Open. Zero values are usable.
type Options struct {
	// Verify walks the file at path before this process maps it, in a child
	// process: see VerifyBy. It returns an error that wraps ErrCorrupt when the
	// file is damaged; after any other error Open fails and leaves the file as it
	// is. Without it the file is walked in this process, which a fault in the wrong
	// place can end: good for tests and tools only.
	Verify func(ctx context.Context, path string) error
	// LeaseTime is the longest lease that may have been lost with a damaged file:
	// so long addresses are to be probed. Default 24 hours.
	LeaseTime time.Duration
	Logger    *slog.Logger     // default: discard
	Now       func() time.Time // default time.Now
}

// Opening tells what Open found.
type Opening struct {
	Leases    int    // leases in the store
	Dropped   int    // single damaged records that were removed
	SetAside  string // where the damaged file is kept, or empty
	Problem   string // what was wrong, or empty
	Compacted bool   // the file was mostly empty and was rewritten
}

// DB is a dhcpd.Store in one file. Its methods may be called concurrently.
type DB struct {
	path    string
	lock    *os.File
	log     *slog.Logger
	now     func() time.Time
	opening Opening
	metrics *metrics

	mu      sync.Mutex // guards the following
	bolt    *bbolt.DB
	state   state
	suspect bool  // pages of a failed commit may be missing on disk: rewrite first
	broken  error // bbolt panicked: nothing works until the process starts again

	// shown is state after the last commit, for whoever must not wait for the disk.
	shown atomic.Pointer[state]
	// failure is how the last commit failed; nil when it did not.
	failure atomic.Pointer[Failure]
}

// Open opens the store at path and creates it when there is none; the folder must
// exist. See the package comment for what happens to a damaged file.
func Open(ctx context.Context, path string, opts Options) (*DB, error) {
	if opts.Verify == nil {
		opts.Verify = verifyHere
	}
	opts.LeaseTime = cmp.Or(opts.LeaseTime, 24*time.Hour)
	db := &DB{path: path, log: opts.Logger, now: opts.Now, metrics: newMetrics()}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	if db.now == nil {
		db.now = time.Now
	}
	lock, err := acquire(path + ".lock")
	if err != nil {
		return nil, advise(err)
	}
	db.lock = lock
	if err := db.start(ctx, opts); err != nil {
		return nil, errors.Join(fmt.Errorf("leasedb: open %s: %w", path, advise(err)), db.Close())
	}
	db.show()
	return db, nil
}

// start brings the file into a state that can be trusted and opens it.
func (db *DB) start(ctx context.Context, opts Options) error {
	err := db.openSound(ctx, opts)
	if !errors.Is(err, ErrCorrupt) {
		return err
	}
	if err := db.startOver(opts, err); err != nil {
		return err
	}
	return db.openSound(ctx, opts)
}

// openSound opens the file, or a new one where there is none. It leaves a damaged
// file as it is and returns ErrCorrupt.
func (db *DB) openSound(ctx context.Context, opts Options) error {
	info, err := os.Lstat(db.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := replace(db.path, "", fillEmpty(time.Time{})); err != nil {
			return err
		}
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("not a regular file but %v; move it away", info.Mode().Type())
	default:
		if !takeProof(db.path) {
			if err := opts.Verify(ctx, db.path); err != nil {
				return err
			}
		}
		if err := os.Chmod(db.path, fileMode); err != nil {
			return err
		}
	}
	if db.bolt, err = openBolt(db.path, false); err != nil {
		return err
	}
	if err := db.examine(opts.LeaseTime); err != nil {
		return err
	}
	db.compact()
	return nil
}

// startOver puts the damaged file aside and an empty one in its place.
func (db *DB) startOver(opts Options, reason error) error {
	db.closeBolt()
	aside := asideName(db.path, db.now())
	until := db.now().Add(opts.LeaseTime)
	if _, err := replace(db.path, aside, fillEmpty(until)); err != nil {
		return fmt.Errorf("%w; replacing it: %w", reason, err)
	}
	db.broken = nil // that was about the old file
	db.opening = Opening{SetAside: aside, Problem: reason.Error()}
	db.log.Error("lease file is damaged, starting without leases: addresses are probed before they are given out",
		"file", db.path, "kept_as", aside, "until", until, "problem", reason)
	if err := trimAside(db.path); err != nil {
		db.log.Warn("cannot remove old damaged lease files", "error", err)
	}
	return nil
}

// fillEmpty returns the content of a new file.
func fillEmpty(recoverUntil time.Time) func(*bbolt.DB) error {
	return func(db *bbolt.DB) error {
		return db.Update(func(tx *bbolt.Tx) error {
			if _, err := tx.CreateBucket(leasesBucket); err != nil {
				return err
			}
			meta, err := tx.CreateBucket(metaBucket)
			if err != nil {
				return err
			}
			return meta.Put([]byte(stateKey), state{recoverUntil: recoverUntil}.encode())
		})
	}
}

// examine compares the records with what the store knows of itself, removes
// single damaged ones and notes when something may be missing.
func (db *DB) examine(leaseTime time.Duration) error {
	if err := checkMetas(db.path); err != nil {
		return err
	}
	s, err := db.survey()
	if err != nil {
		return err
	}
	now := db.now()
	limit := now.Add(leaseTime)
	db.state = s.found
	// Never longer than a lease, should the clock have been ahead when it was set;
	// and by the monotonic clock from now on, should it be set right later.
	if left := min(s.stored.recoverUntil.Sub(now), leaseTime); left > 0 {
		db.state.recoverUntil = now.Add(left)
	}
	db.opening.Leases, db.opening.Dropped = int(s.found.count), len(s.bad)
	problem := s.problem()
	if problem == "" {
		return nil
	}
	db.state.recoverUntil = limit
	db.opening.Problem = problem
	db.log.Error("leases are missing from the lease file: addresses are probed before they are given out",
		"file", db.path, "until", limit, "problem", problem, "dropped", len(s.bad), "kept", s.found.count)
	err = db.update(func(leases *bbolt.Bucket) error {
		for _, key := range s.bad {
			if err := leases.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if s, err = db.survey(); err == nil && s.problem() != "" { // a damaged key may not be found where it is
		err = fmt.Errorf("%w: %s that cannot be removed", ErrCorrupt, s.problem())
	}
	return err
}

func (db *DB) survey() (s *survey, err error) {
	err = guard("read", func() error {
		return db.bolt.View(func(tx *bbolt.Tx) error {
			s, err = takeSurvey(tx)
			return err
		})
	})
	return s, err
}

// compact rewrites the file when most of it is unused. A failure costs only space.
func (db *DB) compact() {
	var size int64
	_ = db.bolt.View(func(tx *bbolt.Tx) error { size = tx.Size(); return nil })
	free := int64(db.bolt.Stats().FreePageN) * pageSize
	if size <= allocSize || free*2 <= size {
		return
	}
	if err := db.rewrite(); err != nil {
		db.log.Warn("cannot compact the lease file", "file", db.path, "error", err)
		return
	}
	db.opening.Compacted = true
}

// rewrite copies all records into a new file, checks that they are all there and
// goes on with that file. A batch whose sync failed may be among them.
func (db *DB) rewrite() error {
	copied := db.state
	replaced, err := replace(db.path, "", func(dst *bbolt.DB) error {
		if err := bbolt.Compact(dst, db.bolt, compactTx); err != nil {
			return err
		}
		return dst.View(func(tx *bbolt.Tx) error {
			s, err := takeSurvey(tx)
			if err != nil {
				return err
			}
			if s.problem() != "" {
				return fmt.Errorf("%w: %s", ErrCorrupt, s.problem())
			}
			copied.count, copied.sum = s.found.count, s.found.sum
			return nil
		})
	})
	if !replaced {
		return err
	}
	fresh, openErr := openBolt(db.path, false)
	if err = errors.Join(err, openErr); err != nil {
		db.broken = err // what is open now is no longer the file of that name
		return err
	}
	err = db.closeBolt()
	db.bolt, db.state = fresh, copied
	return err
}

// Opening tells what Open found.
func (db *DB) Opening() Opening { return db.opening }

// RecoverUntil returns until when addresses must be probed because leases were
// lost; zero when none were, or that time has passed. Clients that renew until then
// may be right about addresses that the store does not know.
func (db *DB) RecoverUntil() time.Time {
	until := db.shown.Load().recoverUntil
	if !db.now().Before(until) {
		return time.Time{}
	}
	return until
}

// show shows the state that is on disk now. The caller holds db.mu, or nobody else
// knows db yet.
func (db *DB) show() {
	s := db.state
	db.shown.Store(&s)
}

// Load returns all leases, ordered by address.
func (db *DB) Load(ctx context.Context) ([]dhcpd.Lease, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.usable(); err != nil {
		return nil, err
	}
	leases := make([]dhcpd.Lease, 0, db.state.count)
	err := guard("load", func() error {
		return db.bolt.View(func(tx *bbolt.Tx) error {
			return tx.Bucket(leasesBucket).ForEach(func(key, value []byte) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				l, err := decodeLease(key, value)
				leases = append(leases, l)
				return err
			})
		})
	})
	if err != nil {
		db.metrics.errors.WithLabelValues("load").Inc()
		return nil, fmt.Errorf("leasedb: load %s: %w", db.path, err)
	}
	return leases, nil
}

// Commit stores changes in their order as one transaction and returns nil once
// they are on disk. A lease in StateFree deletes what is stored under its address.
// After an error the batch is not stored (only when the disk failed to sync may it
// be there nevertheless), all earlier ones still are, and the next Commit works as
// soon as the cause is gone.
func (db *DB) Commit(ctx context.Context, changes []dhcpd.Lease) error {
	if len(changes) == 0 {
		return ctx.Err()
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	start := time.Now()
	err := db.commit(ctx, changes)
	db.show()
	db.metrics.observe(time.Since(start), len(changes), err)
	if err != nil {
		err = fmt.Errorf("leasedb: store %d leases in %s: %w", len(changes), db.path, advise(err))
	}
	db.noteWrite(err)
	return err
}

// Failure is why leases cannot be stored.
type Failure struct {
	Err   error
	Since time.Time // of the first commit that failed
}

// Failing returns why leases cannot be stored now; nil when they can, as far as is known. It does not wait for a commit.
func (db *DB) Failing() *Failure { return db.failure.Load() }

// Recheck writes to the file when the last commit could not, so that Failing ends when its cause does and not only
// when the next client asks.
func (db *DB) Recheck(ctx context.Context) error {
	if db.Failing() == nil {
		return nil
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	err := hasRoom(filepath.Dir(db.path)) // so little as is written now may fit where leases do not
	if err == nil {
		err = db.commit(ctx, nil)
	}
	if err != nil {
		err = fmt.Errorf("leasedb: write to %s: %w", db.path, advise(err))
	}
	db.noteWrite(err)
	return err
}

// roomNeeded is how much of a disk must be free for a lease file to grow.
const roomNeeded = 256 << 10

// hasRoom returns ENOSPC unless the file system of a folder has room for leases.
func hasRoom(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look how much room is in %s: %w", dir, err)
	}
	if st.Bavail*uint64(st.Bsize) < roomNeeded {
		return unix.ENOSPC
	}
	return nil
}

// noteWrite keeps how the last commit ended. One that was given up says nothing. The caller holds db.mu.
func (db *DB) noteWrite(err error) {
	old := db.failure.Load()
	switch {
	case err == nil:
		db.failure.Store(nil)
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
	case old == nil:
		db.failure.Store(&Failure{Err: err, Since: db.now()})
	default:
		db.failure.Store(&Failure{Err: err, Since: old.Since})
	}
}

func (db *DB) commit(ctx context.Context, changes []dhcpd.Lease) error {
	if err := db.ready(ctx); err != nil {
		return err
	}
	before := db.state
	err := db.update(func(leases *bbolt.Bucket) error { return db.apply(leases, changes) })
	if err != nil {
		db.state = before
	}
	return err
}

// ready returns an error unless the file can be written to.
func (db *DB) ready(ctx context.Context) error {
	if err := errors.Join(ctx.Err(), db.usable()); err != nil {
		return err
	}
	if db.suspect {
		if err := db.rewrite(); err != nil {
			return fmt.Errorf("rewrite the file after a failed sync: %w", err)
		}
		db.suspect = false
	}
	return nil
}

// apply writes the changes and keeps db.state in step.
func (db *DB) apply(leases *bbolt.Bucket, changes []dhcpd.Lease) error {
	for i := range changes {
		key, value, err := encodeLease(&changes[i])
		if err != nil {
			return err
		}
		if old := leases.Get(key); old != nil {
			db.state.remove(storedSum(old))
		}
		if value == nil {
			err = leases.Delete(key)
		} else {
			db.state.add(storedSum(value))
			err = leases.Put(key, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// update runs fn on the leases and stores db.state in one transaction.
func (db *DB) update(fn func(leases *bbolt.Bucket) error) error {
	return db.transact(func(tx *bbolt.Tx) error {
		if err := fn(tx.Bucket(leasesBucket)); err != nil {
			return err
		}
		return tx.Bucket(metaBucket).Put([]byte(stateKey), db.state.encode())
	})
}

// transact runs fn as one transaction and notes what its failure means for the file.
func (db *DB) transact(fn func(*bbolt.Tx) error) error {
	err := guard("commit", func() error { return db.bolt.Update(fn) })
	switch {
	case errors.Is(err, ErrCorrupt):
		db.broken = err // locks inside bbolt may still be held
	case err != nil && !harmless(err):
		db.suspect = true
	}
	return err
}

// harmless reports whether a failed commit left the disk as it was: the pages it
// writes are free ones until the meta page names them, so a failed write (disk full)
// costs nothing. After a failed sync the kernel may have dropped pages that it
// still shows us, and must not be asked again.
func harmless(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Op == "write" || errors.Is(err, errRefused)
}

// CopyTo writes a copy of the store as it is now to a new file, mode 0600, that
// Open opens. Commits wait meanwhile.
func (db *DB) CopyTo(path string) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.usable(); err != nil {
		return fmt.Errorf("leasedb: copy: %w", err)
	}
	err := guard("copy", func() error {
		return db.bolt.View(func(tx *bbolt.Tx) error { return tx.CopyFile(path, fileMode) })
	})
	if err != nil {
		return fmt.Errorf("leasedb: copy to %s: %w", path, err)
	}
	return nil
}

func (db *DB) usable() error {
	switch {
	case db.broken != nil:
		return fmt.Errorf("restart the service: %w", db.broken)
	case db.bolt == nil:
		return errors.New("store is closed")
	}
	return nil
}

// Close gives up file and lock. Everything committed is on disk already.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	sound := db.bolt != nil && db.shown.Load() != nil && db.broken == nil && !db.suspect
	err := db.closeBolt()
	if sound && err == nil {
		if err := leaveProof(db.path); err != nil {
			db.log.Debug("the lease file is walked at the next start", "err", err)
		}
	}
	if db.lock != nil {
		err = errors.Join(err, db.lock.Close())
		db.lock = nil
	}
	return err
}

func (db *DB) closeBolt() error {
	if db.bolt == nil {
		return nil
	}
	bolt := db.bolt
	db.bolt = nil
	if db.broken != nil { // Close would wait for locks that nobody gives back
		return nil
	}
	return bolt.Close()
}

// advise adds to an error of the system what the operator can do.
func advise(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: free some space there; no lease is given until then", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: mount it for writing, or choose another state directory", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the service must be able to write there", err)
	}
	return err
}
