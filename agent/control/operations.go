package control

import "slices"

// Operations lists all that the daemon can be asked.
func Operations() []Declaration {
	return slices.Concat(
		statusOperations(), configOperations(), leaseOperations(), phoneOperations(), pbxOperations(),
		firewallOperations(), stackOperations(), backupOperations(), verifyOperations(), logOperations(),
		consoleOperations(), alertOperations(),
	)
}
