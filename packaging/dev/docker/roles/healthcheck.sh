#!/bin/sh
# Plays the official image's health check, whose account the start has made.
exec mariadb --defaults-extra-file=/var/lib/mysql/.my-healthcheck.cnf -e 'SELECT 1'
