package labtest

// PackagedFail2ban takes what the machine's owner, or an installed sae-agent, has added to Debian's /etc/fail2ban out
// of the host's view of it.
func (h *Host) PackagedFail2ban() {
	h.t.Helper()
	h.Run("sh", "-ec", `cd /etc/fail2ban
find . -name '*.local' -delete
find jail.d fail2ban.d -type f ! -name defaults-debian.conf -delete
find . -name 'sae-agent*' -delete`)
}
