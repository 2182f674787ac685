-- The tables of FreePBX 17 that the driver reads (core, module.xml).
CREATE TABLE devices (
  id varchar(20) NOT NULL DEFAULT '', tech varchar(10) NOT NULL DEFAULT '', dial varchar(255) NOT NULL DEFAULT '',
  devicetype varchar(5) NOT NULL DEFAULT '', user varchar(50), description varchar(50), emergency_cid varchar(100),
  hint_override varchar(100), KEY id (id), KEY tech (tech)
) DEFAULT CHARSET=utf8mb4;
CREATE TABLE users (
  extension varchar(20) NOT NULL DEFAULT '', password varchar(20), name varchar(50), voicemail varchar(50), ringtimer int,
  noanswer varchar(100), recording varchar(50), outboundcid varchar(50), sipname varchar(50), noanswer_cid varchar(20) NOT NULL DEFAULT '',
  busy_cid varchar(20) NOT NULL DEFAULT '', chanunavail_cid varchar(20) NOT NULL DEFAULT '', noanswer_dest varchar(255) NOT NULL DEFAULT '',
  busy_dest varchar(255) NOT NULL DEFAULT '', chanunavail_dest varchar(255) NOT NULL DEFAULT '', mohclass varchar(80) DEFAULT 'default',
  KEY extension (extension)
) DEFAULT CHARSET=utf8mb4;
CREATE TABLE sip (
  id varchar(20) NOT NULL DEFAULT '-1', keyword varchar(30) NOT NULL DEFAULT '', data varchar(8100) NOT NULL, flags int NOT NULL DEFAULT 0,
  PRIMARY KEY (id, keyword)
) DEFAULT CHARSET=utf8mb4;
CREATE TABLE ampusers (
  username varchar(255) NOT NULL, password_sha1 varchar(40) NOT NULL, extension_low varchar(20) NOT NULL DEFAULT '',
  extension_high varchar(20) NOT NULL DEFAULT '', deptname varchar(20) NOT NULL DEFAULT '', sections blob, PRIMARY KEY (username)
) DEFAULT CHARSET=utf8mb4;
-- The advanced settings, of framework.
CREATE TABLE freepbx_settings (
  keyword varchar(50) NOT NULL DEFAULT '', value varchar(255), type varchar(25), PRIMARY KEY (keyword)
) DEFAULT CHARSET=utf8mb4;
INSERT INTO freepbx_settings VALUES ('FREEPBX_SYSTEM_IDENT', 'VoIP Server', 'text'), ('PHPTIMEZONE', 'UTC', 'select'), ('BADDESTABORT', '0', 'bool');
-- What the module sipsettings keeps: its install stores the external address and no local network.
CREATE TABLE kvstore_Sipsettings (
  `key` char(255) NOT NULL, val varchar(4096), type char(16), id char(255), UNIQUE KEY uniqueindex (`key`(190), id(190))
) DEFAULT CHARSET=utf8mb4;
INSERT INTO kvstore_Sipsettings VALUES ('externip', '203.0.113.9', NULL, 'noid');
