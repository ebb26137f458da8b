{{/* Where a component may go: DNS, Kafka, Redis, registry and token endpoint. Takes a list: root, component. */}}
{{- define "offramp.egress" -}}
{{- $root := index . 0 -}}
{{- $policy := $root.Values.networkPolicy -}}
{{- $settings := fromYaml (include "offramp.settings" (list $root (ternary "worker" (index . 1) (eq (index . 1) "test")))) -}}
{{- $redis := include "offramp.ports" (list $settings.redis.url "6379") -}}
{{- if contains "sentinel" $settings.redis.url }}{{ $redis = printf "%s 6379" $redis }}{{ end -}}
{{- $web := "" -}}
{{- range list (dig "registry" "url" "" $settings.kafka) (dig "security" "token_url" "" $settings.kafka) -}}
{{- if . }}{{ $web = printf "%s %s" $web (include "offramp.ports" (list . (ternary "443" "80" (hasPrefix "https" .)))) }}{{ end -}}
{{- end -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
  {{- with $policy.dnsTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{ include "offramp.way" (list $policy.kafka (include "offramp.ports" (list $settings.kafka.bootstrap_servers "9092"))) }}
{{ include "offramp.way" (list $policy.redis $redis) }}
{{- if or (trim $web) $policy.web.ports }}
{{ include "offramp.way" (list $policy.web $web) }}
{{- end }}
{{- if eq (index . 1) "test" }}
{{- range list "worker" "dashboard" }}
- ports:
    - port: {{ ternary $settings.metrics.port 8200 (eq . "worker") }}
  to:
    - podSelector:
        matchLabels:
          {{- include "offramp.selector" (list $root .) | nindent 10 }}
{{- end }}
{{- end }}
{{- with $policy.egress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Ports in an address, with spaces between. Takes a list: address, port that it has without one. */}}
{{- define "offramp.ports" -}}
{{- $hosts := regexReplaceAll "^([a-z+]+://)?([^@/]*@)?([^/]*).*$" (index . 0) "${3}" -}}
{{- $ports := list -}}
{{- range splitList "," $hosts -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | default (printf ":%s" (index $ 1)) | trimPrefix ":") -}}
{{- end -}}
{{- $ports | uniq | join " " -}}
{{- end }}

{{/* A rule for egress. Takes a list: ports and peers that the user set, ports of the settings. */}}
{{- define "offramp.way" -}}
{{- $set := index . 0 -}}
- ports:
    {{- range default (index . 1 | trim | splitList " " | uniq) $set.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with $set.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
