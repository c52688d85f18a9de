// Starts Swagger UI in the page's own element, which knows where the OpenAPI document is.
const place = document.getElementById("swagger-ui");

const night = window.matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", night.matches);
night.addEventListener("change", paint);
paint();

// An operation that may be called without a login is locked only once there is one.
const openUntilLogin = {
  statePlugins: {
    auth: {
      wrapSelectors: {
        isAuthorized: (original) => (state, needs) => original(needs?.filter((need) => need.size > 0)),
      },
    },
  },
};

window.ui = SwaggerUIBundle({
  url: place.dataset.openapi,
  domNode: place,
  plugins: [openUntilLogin],
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  defaultModelExpandDepth: 2,
  displayRequestDuration: true,
  persistAuthorization: false, // a token does not outlive the tab
  tryItOutEnabled: true,
  validatorUrl: null, // asks nobody else
});
