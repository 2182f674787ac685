<?php
// Written by sae-agent from /etc/sae-agent/config.yaml: changes made here are lost.
$AUTOCONFIG = array(
  'dbtype' => 'mysql',
  'dbhost' => 'mariadb',
  'dbname' => 'nextcloud',
  'dbuser' => 'nextcloud',
  'dbpass' => 'db-secret',
  'dbtableprefix' => 'oc_',
  'directory' => '/data',
  'adminlogin' => 'admin',
  'adminpass' => 'a$b${C}\'d"e\\f#g h',
);
