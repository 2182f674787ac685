package lab

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stageEnv tells a re-executed program how far it is on its way into the lab.
const (
	stageEnv    = "SAE_LAB_STAGE"
	stageRoot   = "root"   // PID 1 of the lab, still with the machine's mounts
	stageInit   = "init"   // PID 1 of the lab
	stageInside = "inside" // the program proper
)

// forwarded are the signals that travel from the outermost process to the program inside.
var forwarded = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2}

// Inside reports whether this process is in a lab already.
func Inside() bool { return os.Getenv(stageEnv) == stageInside }

// Parallel lets n tests that call t.Parallel run at once, unless -parallel says otherwise: those of a lab wait for other
// programs most of the time, and as many as there are processors would leave these idle. It is called before Main.
func Parallel(n int) { _ = flag.Set("test.parallel", strconv.Itoa(n)) } // every test program has this flag

// Main is the body of a TestMain: it runs the tests inside a lab, then the functions of after (a goroutine leak
// check, say), and exits. It never returns.
func Main(m interface{ Run() int }, after ...func() error) {
	if err := Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	for _, f := range after {
		if err := f(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Enter moves the calling program into a lab. It must be the first thing that the program does, and returns only in
// the copy that runs inside; the process that called it exits with that copy's status. The functions of open are
// called before, in the machine's own namespaces; the copy finds the files (listening sockets, say) with Inherited.
func Enter(open ...func() (*os.File, error)) error {
	if os.Args[0] == execName {
		return becomeCommand(os.Args[1:])
	}
	stage := os.Getenv(stageEnv)
	if (stage == stageRoot || stage == stageInit) && os.Getpid() != 1 {
		return fmt.Errorf("lab: %s=%s is set, but this is not the first process of a lab", stageEnv, stage)
	}
	switch stage {
	case stageRoot:
		if err := onThread(ownMounts); err != nil {
			return fmt.Errorf("lab: mounts of its own: %w", err)
		}
		return errors.New("lab: not executed again")
	case stageInit:
		if err := prepare(); err != nil {
			return fmt.Errorf("lab: prepare namespaces: %w", err)
		}
		return beInit(len(open))
	case stageInside:
		return nil
	}
	var files []*os.File
	for _, f := range open {
		file, err := f()
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	return startInit(files)
}

// Inherited returns the file that the i-th function given to Enter has opened.
func Inherited(i int) *os.File {
	return os.NewFile(uintptr(3+i), fmt.Sprintf("inherited-%d", i))
}

// startInit runs the lab's first process and exits with its status.
func startInit(files []*os.File) error {
	// The parent death signal fires when the creating thread ends, so this thread must live as long as we do.
	runtime.LockOSThread()
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(ownEnviron(os.Environ()), stageEnv+"="+stageRoot)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("lab: cannot create namespaces, run as root or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1): %w", err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return fmt.Errorf("lab: wait: %w", err)
	}
	exit(cmd.ProcessState.Sys().(syscall.WaitStatus))
	return nil
}

// beInit is PID 1 of the lab: it starts the program proper, reaps whatever ends and exits with the program's
// status, upon which the kernel kills everything that is left.
func beInit(files int) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)

	if err := os.Setenv(stageEnv, stageInside); err != nil {
		return err
	}
	attr := &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}}
	for i := range files {
		attr.Files = append(attr.Files, Inherited(i))
	}
	child, err := os.StartProcess("/proc/self/exe", os.Args, attr)
	if err != nil {
		return fmt.Errorf("lab: start %s: %w", os.Args[0], err)
	}
	go func() {
		for s := range signals {
			_ = syscall.Kill(child.Pid, s.(syscall.Signal))
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err != nil && err != syscall.EINTR {
			return fmt.Errorf("lab: wait: %w", err)
		}
		if pid == child.Pid {
			exit(status)
		}
	}
}

// exit passes on how a child ended. These processes have nothing to finish, and os.Exit takes a second in a program
// with the race detector.
func exit(s syscall.WaitStatus) {
	if s.Signaled() {
		syscall.Exit(128 + int(s.Signal()))
	}
	syscall.Exit(s.ExitStatus())
}

// ownMounts detaches this mount namespace from the machine's, makes the program's root directory its root, and
// executes the program again for the next stage. It takes over the calling thread.
//
// In a chroot the root directory is no mount point, and the root of the mount namespace lies outside of it. Nothing
// in the lab may see that outside: setns(2) goes to the root of a mount namespace, so a program run on a host would
// find itself with the machine's files.
func ownMounts() error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /: %w", err)
	}
	ns, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the mount namespace: %w", err)
	}
	if err := enterMounts(ns); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Fchdir(root); err != nil {
		return fmt.Errorf("go to the root directory: %w", err)
	}
	chroot, err := syscall.Getwd() // not os.Getwd, which believes $PWD
	if err != nil {
		return err
	}
	if chroot != "/" {
		if err := pivot(chroot); err != nil {
			return fmt.Errorf("make %s the root: %w", chroot, err)
		}
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := os.Setenv(stageEnv, stageInit); err != nil {
		return err
	}
	// Each thread has a parent death signal of its own, and this thread's is the one that survives the execution.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set the parent death signal: %w", err)
	}
	return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

// pivot makes dir the root of the mount namespace, see pivot_root(2), "pivot_root(".", ".")".
func pivot(dir string) error {
	if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	return unix.Unmount(".", unix.MNT_DETACH)
}

// enterMounts moves the calling thread, which must not be used for anything else, to the root of a mount namespace.
func enterMounts(ns int) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare fs: %w", err)
	}
	if err := unix.Setns(ns, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter mount namespace: %w", err)
	}
	return nil
}

// prepare makes the fresh namespaces usable and independent of the machine: /proc shows the lab's processes, /run is
// empty (no pid files, control sockets or D-Bus of the machine), the loopback interface is up, and kernel parameters,
// host name and file mode mask are the lab's.
func prepare() error {
	unix.Umask(0o022)
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set the host name: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := mountTmpfs("/run"); err != nil {
		return err
	}
	if err := os.Mkdir(netnsDir, 0o755); err != nil {
		return err
	}
	if err := mountTmpfs(netnsDir); err != nil {
		return err
	}
	// The names of namespaces are mounts, made before or after the mount namespaces of the hosts that shall see them.
	if err := unix.Mount("", netnsDir, "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share %s: %w", netnsDir, err)
	}
	if err := ownSysctls(); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

func mountTmpfs(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", dir, err)
	}
	return nil
}

// onThread runs fn on an operating system thread of its own, which ends with it: whatever fn does to the thread's
// namespaces touches nobody else.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime then drops the thread
		done <- fn()
	}()
	return <-done
}
