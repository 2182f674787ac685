include:config "x.cfg"
