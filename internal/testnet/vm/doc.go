// Package vm runs a program on a Linux kernel of its own: that of Debian, with
// WireGuard, in a virtual machine of QEMU. It is for what must be seen on the
// kernel's WireGuard where the machine at hand has none, and for time that is
// virtual.
//
// Start with [Run]; [Build] makes a static binary of a package to hand to it, and
// [GoTest] runs the tests of a package inside:
//
//	lab, err := vm.Build(ctx, "github.com/holdfastvpn/holdfast/internal/testnet/lab")
//	// …
//	res, err := vm.Run(ctx, vm.Config{
//		Program: lab,
//		Args:    []string{"-kernel", "-json", "drift"},
//		Stdout:  os.Stdout,
//		Stderr:  os.Stderr,
//	})
//
// [Native] says that all this is not needed here.
//
// What a caller must know:
//   - It needs qemu-system-x86_64, the go command, and once apt-get, apt-cache and
//     dpkg-deb: the kernel comes from Debian's archive, is unpacked, not
//     installed, and stays in the user's cache folder. It needs no rights, no KVM
//     and no module, and changes nothing on this machine. [Check] says what lacks.
//   - Every run boots a new machine, which takes seconds, and has nothing in it
//     but the program, what the Config names, and kernel modules. Its root is in
//     memory and goes with it. So does the process: if this one dies, by whatever
//     cause, QEMU is killed.
//   - [Virtual] counts instructions: one is a nanosecond, and a machine in which
//     nothing happens jumps to its next timer. Timers are exact, cost shows as
//     time, and how busy this machine is has no influence. There is one CPU.
//     [Wall] has this machine's clock and two CPUs.
//   - A result without an error means that the program itself ended. A machine
//     that died, hung or was out of time is always an error.
//   - The kernel loads modules on demand, those that are in the image; see
//     [Config].
//
// It knows nothing of networks: packages testnet and lab run in it as anywhere.
package vm
