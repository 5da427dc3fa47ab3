INSERT INTO "facts" VALUES('restored','2');
