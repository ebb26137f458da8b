{{/* Settings of a component: those of all, and over them its own. Takes a list: root, component. */}}
{{- define "offramp.settings" -}}
{{- $values := (index . 0).Values -}}
{{- $own := index $values (index . 1) -}}
{{- $settings := deepCopy $values.settings -}}
{{- if and (eq (index . 1) "worker") (or $own.gpu.count $own.resourceClaims) -}}
{{- $settings = mergeOverwrite (dict "model" (dict "device" "cuda")) $settings -}}
{{- end -}}
{{- $settings = mergeOverwrite $settings (deepCopy (default dict $own.settings)) -}}
{{- if not $settings.kafka.bootstrap_servers }}{{ fail "settings.kafka.bootstrap_servers: say where the brokers are" }}{{ end -}}
{{- if not $settings.redis.url }}{{ fail "settings.redis.url: say where Redis is" }}{{ end -}}
{{- if regexMatch "://[^/@]*:[^/@]+@" $settings.redis.url }}{{ fail "settings.redis.url has a password: keep it in a Secret, and name its file in settings.redis.password_file" }}{{ end -}}
{{ toYaml $settings }}
{{- end }}

{{/* Secrets of a component, as name: secret. Takes a list: root, component. */}}
{{- define "offramp.secrets" -}}
{{- $values := (index . 0).Values -}}
{{- $own := index $values (index . 1) -}}
{{- $secrets := mergeOverwrite (deepCopy $values.secrets) (deepCopy (default dict $own.secrets)) -}}
{{- if and (eq (index . 1) "dashboard") -}}
{{- $secrets = set $secrets "dashboard" (required "dashboard.tokenSecret: name the Secret with the key `token`" $own.tokenSecret) -}}
{{- end -}}
{{- range regexFindAll "_file: /run/secrets/[^/\n]+" (include "offramp.settings" .) -1 -}}
{{- $name := trimPrefix "_file: /run/secrets/" . -}}
{{- if not (hasKey $secrets $name) }}{{ fail (printf "a setting names a file in /run/secrets/%s: say which Secret that is in secrets.%s" $name $name) }}{{ end -}}
{{- end -}}
{{ toYaml $secrets }}
{{- end }}

{{/* Threads of one worker: the requested cores, divided by the workers of the pod, at least one. */}}
{{- define "offramp.threads" -}}
{{- $cpu := toString .Values.worker.resources.requests.cpu -}}
{{- $milli := ternary (trimSuffix "m" $cpu | float64) (mulf 1000 ($cpu | float64)) (hasSuffix "m" $cpu) -}}
{{- max 1 (floor (divf $milli (mul 1000 .Values.worker.processes)) | int) -}}
{{- end }}

{{/* Seconds until a worker that is told to end is killed: to finish its batches, for one last
answer of the broker, and for the process. What is not done by then is read again: nothing is lost. */}}
{{- define "offramp.grace" -}}
{{- $settings := fromYaml (include "offramp.settings" (list . "worker")) -}}
{{- $drain := dig "worker" "drain_s" 20 $settings -}}
{{- $answer := dig "kafka" "request_timeout_s" 30 $settings -}}
{{- add (ceil $drain | int) (ceil $answer | int) 10 -}}
{{- end }}
