#!/bin/sh
# Plays the official image's health check.
MYSQL_PWD=$MARIADB_PASSWORD exec mariadb -u "$MARIADB_USER" -h 127.0.0.1 -e 'SELECT 1' "$MARIADB_DATABASE"
