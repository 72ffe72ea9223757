# Varnish's own rules, which stream what they fetch.
vcl 4.1;

backend default {
	.host = "127.0.0.1";
	.port = "{{.OriginPort}}";
	.first_byte_timeout = 2m;
	.between_bytes_timeout = 2m;
}
