<?php
// Written by sae-agent from /etc/sae-agent/config.yaml: changes made here are lost.
$CONFIG = array(
  'trusted_domains' => array('127.0.0.1', 'localhost', '192.168.1.1', 'sae303.example'),
  'overwriteprotocol' => 'https',
  'overwrite.cli.url' => 'https://192.168.1.1:7443',
  'maintenance_window_start' => 1,
  'upgrade.disable-web' => true,
  'updatechecker' => false,
  'default_timezone' => 'Europe/Paris',
);
